"""Facts of the whole process: collections, and figures of /proc."""
