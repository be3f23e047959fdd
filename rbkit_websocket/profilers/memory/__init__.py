"""Living objects by class, and objects that come and go."""
