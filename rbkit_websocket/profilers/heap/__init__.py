"""Snapshots of the heap."""
