"""Everything in C, and its one loader.

The extension modules are optional: whatever is not built or cannot be loaded has a way in Python.
"""
