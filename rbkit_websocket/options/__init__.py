"""Options: their values, their sources, and the functions that take them."""
