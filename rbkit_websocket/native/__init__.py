"""Everything in C, and its one loader.

The extension modules are optional: Python code stands in for a module that is not built or cannot be loaded.
"""
