"""HTTP requests: the gate, the upgrade to a session, the pages below ``mount``."""
