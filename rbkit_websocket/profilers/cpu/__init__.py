"""Where a CPU sample is taken, added up and packed."""
