"""Sphinx configuration."""

import ast
import sys
from dataclasses import fields
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from rbkit_websocket import __version__
from rbkit_websocket.options.table import OPTIONS, Settings, Taker
from rbkit_websocket.profilers.process.gcstats import KEYS
from rbkit_websocket.protocol.commands import COMMANDS
from rbkit_websocket.protocol.commands.command import Command

sys.path.append(str(Path(__file__).parents[1] / "tools"))
from answer_types import Described, read

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


class Table(SphinxDirective):
    """A table from one in the code."""

    def rows(self) -> list[list[str]]:
        """Cells in reStructuredText, the heads first."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        return self.parsed(_lines_of_table(self.rows()))

    def parsed(self, lines: list[str]) -> list[nodes.Node]:
        """What reStructuredText makes."""
        box = nodes.section()
        box.document = self.state.document
        self.state.nested_parse(StringList(lines, "table"), 0, box)
        return box.children


def _lines_of_table(rows: list[list[str]]) -> list[str]:
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: auto", ""]
    for row in rows:
        lines += [f"   {'* -' if number == 0 else '  -'} {cell}" for number, cell in enumerate(row)]
    return [*lines, ""]


class CommandTable(Table):
    """Every command beyond the protocol's own."""

    def rows(self) -> list[list[str]]:
        ours = [command for command in COMMANDS.values() if not command.native]
        return [["Command", "What it does"], *([f"``{_usage(command)}``", command.sentence] for command in ours)]


def _usage(command: Command) -> str:
    names = [argument.name if argument.words else f"<{argument.name}>" for argument in command.arguments]
    if command.optional:
        names[-command.optional :] = [f"[{name}]" for name in names[-command.optional :]]
    return " ".join([command.name, *names, *(["..."] if command.most else [])])


class Answer(Table):
    """The answer of a command, key by key, and what it is made of where the page has not told of that before."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        (word,) = self.arguments
        names = [kind.__name__ for kind in COMMANDS[word].answer] if word in COMMANDS else [word]
        types = read()
        told = self.env.temp_data.setdefault("answers told", set())
        lines: list[str] = []
        while names:
            one = types[names.pop(0)]
            if one.name not in told:
                told.add(one.name)
                lines += _lines_of_type(one)
                names += [name for name in _used(one) if name in types]
        return self.parsed(lines)


def _used(one: Described) -> list[str]:
    """Names in the types of a type."""
    kinds = [key.kind for key in one.keys or ()] + ([one.kind] if one.kind is not None else [])
    base = [one.base] if one.base else []
    return base + [node.id for kind in kinds for node in ast.walk(kind) if isinstance(node, ast.Name)]


def _lines_of_type(one: Described) -> list[str]:
    if one.kind is not None:
        return [f"``{one.name}`` is ``{ast.unparse(one.kind)}``. {one.words}", ""]
    more = f" Besides it has all of ``{one.base}``." if one.base else ""
    rows = [["Key", "Type", "What it is"]]
    for key in one.keys or ():
        left_out = " (may be left out)" if key.optional else ""
        rows.append([f"``{key.name}``{left_out}", f"``{ast.unparse(key.kind)}``", key.words])
    return [f"``{one.name}``: {one.words}{more}", "", *(_lines_of_table(rows) if one.keys else [])]


class OptionTable(Table):
    """Every option."""

    def rows(self) -> list[list[str]]:
        types = {field.name: str(field.type) for field in fields(Settings)}
        rows = [["Option", "Type", "Default", "Taken by", "What it is"]]
        for name, option in OPTIONS.items():
            takers = ", ".join(words for taker, words in _TAKERS.items() if taker in option.takers)
            kind = types[name].removesuffix(" | None")
            rows.append([f"``{name}``", f"``{kind}``", _default(option.default), takers, option.sentence])
        return rows


_TAKERS = {Taker.MIDDLEWARE: "middleware", Taker.SERVER: "``start_server()``", Taker.GATEWAY: "gateway"}


def _default(value: object) -> str:
    if value is None or value == () or value == "":
        return "see below"
    return f"{value:,}" if type(value) is int else f"``{value}``" if isinstance(value, str) else f"{value}"


def setup(app: Sphinx) -> None:
    app.add_directive("command-table", CommandTable)
    app.add_directive("answer", Answer)
    app.add_directive("option-table", OptionTable)
    app.add_directive("gc-stats-keys", GcStatsKeys)
