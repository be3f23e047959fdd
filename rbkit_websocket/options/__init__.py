"""Every option: what it may be, where it comes from, who takes it."""
