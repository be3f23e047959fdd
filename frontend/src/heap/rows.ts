/** Most rows in one answer, which bounds the memory that it asks for. */
export const MOST_ROWS = 1000;
