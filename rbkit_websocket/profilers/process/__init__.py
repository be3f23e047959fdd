"""What is known of the whole process: collections, and what /proc tells."""
