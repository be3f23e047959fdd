"""Sphinx configuration."""

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

from rbkit_websocket import __version__
from rbkit_websocket.profilers.process.gcstats import KEYS

project = "rbkit_websocket"
author = "The rbkit_websocket contributors"
copyright = "2026, The rbkit_websocket contributors"
release = __version__
html_theme = "furo"
html_title = f"rbkit_websocket {release}"
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
autodoc_typehints = "description"


class GcStatsKeys(Directive):
    """Every key of a gc_stats message, from the table in the code, so that the two cannot differ."""

    def run(self) -> list[nodes.Node]:
        items = [
            nodes.definition_list_item(
                "",
                nodes.term("", "", nodes.literal(text=key)),
                nodes.definition("", nodes.paragraph(text=meaning)),
            )
            for key, meaning in KEYS.items()
        ]
        return [nodes.definition_list("", *items)]


def setup(app: Sphinx) -> None:
    app.add_directive("gc-stats-keys", GcStatsKeys)
