"""Greenlets: their list, their stacks, their waits, and blocks of the event loop."""
