"""Sphinx configuration."""

from rbkit_websocket import __version__

project = "rbkit_websocket"
author = "The rbkit_websocket contributors"
copyright = "2026, The rbkit_websocket contributors"
release = __version__
html_theme = "furo"
html_title = f"rbkit_websocket {release}"
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
nitpicky = False
autodoc_typehints = "description"
