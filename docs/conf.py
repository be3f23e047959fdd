"""Sphinx configuration."""

from dataclasses import fields

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from rbkit_websocket import __version__
from rbkit_websocket.options.table import OPTIONS, Settings, Taker
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


class OptionTable(SphinxDirective):
    """Every option, from the table in the code."""

    def run(self) -> list[nodes.Node]:
        types = {field.name: str(field.type) for field in fields(Settings)}
        lines = [".. list-table::", "   :header-rows: 1", "   :widths: auto", ""]
        lines += _row("Option", "Type", "Default", "Taken by", "What it is")
        for name, option in OPTIONS.items():
            takers = ", ".join(words for taker, words in _TAKERS.items() if taker in option.takers)
            kind = types[name].removesuffix(" | None")
            lines += _row(f"``{name}``", f"``{kind}``", _default(option.default), takers, option.sentence)
        box = nodes.section()
        box.document = self.state.document
        self.state.nested_parse(StringList(lines, "options"), 0, box)
        return box.children


_TAKERS = {Taker.MIDDLEWARE: "middleware", Taker.SERVER: "``start_server()``", Taker.GATEWAY: "gateway"}


def _row(*cells: str) -> list[str]:
    return [f"   {'* -' if number == 0 else '  -'} {cell}" for number, cell in enumerate(cells)]


def _default(value: object) -> str:
    if value is None or value == () or value == "":
        return "see below"
    return f"{value:,}" if type(value) is int else f"``{value}``" if isinstance(value, str) else f"{value}"


def setup(app: Sphinx) -> None:
    app.add_directive("option-table", OptionTable)
    app.add_directive("gc-stats-keys", GcStatsKeys)
