"""What one HTTP request meets: who gets in, how it becomes a session, the pages below ``mount``."""
