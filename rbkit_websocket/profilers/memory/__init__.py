"""What lives, by class; which objects come and go."""
