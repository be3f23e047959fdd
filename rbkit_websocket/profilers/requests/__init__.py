"""Requests: which one a stack belongs to, their names, and their age."""
