"""The dashboard: its page and its files."""
