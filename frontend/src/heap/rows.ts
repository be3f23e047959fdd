/** How many rows of a list are handed over at most. */
export const MOST_ROWS = 1000;
