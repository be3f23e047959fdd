"""Which request a stack belongs to, what it is called, and how long it has gone on."""
