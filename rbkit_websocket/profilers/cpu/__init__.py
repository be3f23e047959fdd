"""CPU samples: taken, added up and packed."""
