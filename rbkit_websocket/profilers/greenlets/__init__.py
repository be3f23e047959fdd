"""Which greenlets there are, where each one stands, what it waits for, and what blocks the event loop."""
