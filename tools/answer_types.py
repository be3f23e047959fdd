"""The types in ``rbkit_websocket/protocol/commands`` as others need them.

``python tools/answer_types.py`` writes the front end's, ``frontend/src/protocol/answers.ts``; docs/conf.py takes
:func:`read` for docs/protocol.rst.
"""

from __future__ import annotations

import ast
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

from rbkit_websocket.protocol.commands import COMMANDS

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "rbkit_websocket" / "protocol" / "commands"
TARGET = ROOT / "frontend" / "src" / "protocol" / "answers.ts"

_WIDTH = 120
_HEAD = """\
// Made by tools/answer_types.py from rbkit_websocket/protocol/commands: change it there, and run that again.
"""
_PLAIN = {"int": "number", "float": "number", "str": "string", "bool": "boolean", "None": "null", "Any": "unknown"}


@dataclass(frozen=True)
class Key:
    """A key of a map.

    Attributes:
        name: as it is sent.
        kind: its type.
        words: what it is.
        optional: whether it may be missing.
    """

    name: str
    kind: ast.expr
    words: str
    optional: bool


@dataclass(frozen=True)
class Described:
    """A type.

    Attributes:
        name: as it is called.
        words: what it is.
        base: the type whose keys it has as well.
        keys: its own; None where it is no map.
        kind: what it stands for; None where it is a map.
    """

    name: str
    words: str
    base: str | None = None
    keys: tuple[Key, ...] | None = None
    kind: ast.expr | None = None


def read() -> dict[str, Described]:
    """All of them by name, each behind those that it is made of."""
    found: dict[str, Described] = {}
    for path in sorted(SOURCES.glob("*.py"), key=lambda path: (path.stem != "stacks", path.stem)):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        for node, after in zip(body, [*body[1:], None], strict=True):
            if isinstance(node, ast.ClassDef) and _base(node) in {"TypedDict", *found}:
                found[node.name] = _map(node)
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and (words := _words(after)):
                name = node.targets[0].id
                found[name] = Described(name, words, kind=node.value)
    return found


def _words(node: ast.stmt | None) -> str:
    """The text of a docstring; empty where there is none."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return " ".join(node.value.value.split())
    return ""


def _base(node: ast.ClassDef) -> str:
    """The name of its first base; empty where there is none."""
    return node.bases[0].id if node.bases and isinstance(node.bases[0], ast.Name) else ""


def _map(node: ast.ClassDef) -> Described:
    optional = any(keyword.arg == "total" for keyword in node.keywords)
    keys = [
        Key(one.target.id, one.annotation, _words(after), optional)
        for one, after in zip(node.body, [*node.body[1:], None], strict=True)
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)
    ]
    base = _base(node)
    return Described(node.name, _words(node.body[0]), base if base != "TypedDict" else None, tuple(keys))


def typescript() -> str:
    """The file of the front end."""
    parts = [_HEAD, *map(_declared, read().values()), _table()]
    return "\n".join(parts)


def _declared(one: Described) -> str:
    if one.keys is None:
        assert one.kind is not None
        return f"{_comment(one.words)}export type {one.name} = {_type(one.kind)};\n"
    if not one.keys and one.base is None:
        return f"{_comment(one.words)}export type {one.name} = Readonly<Record<string, never>>;\n"
    lines = "".join(_comment(key.words, "  ") + f"  readonly {_signature(key)};\n" for key in one.keys)
    extends = f" extends {one.base}" if one.base else ""
    return f"{_comment(one.words)}export interface {one.name}{extends} {{\n{lines}}}\n"


def _signature(key: Key) -> str:
    return f"{key.name}{'?' * key.optional}: {_type(key.kind)}"


def _table() -> str:
    lines = "".join(
        f"  readonly {name}: {' | '.join(kind.__name__ for kind in command.answer)};\n"
        for name, command in COMMANDS.items()
        if command.answer and not command.native
    )
    words = "What each command answers that has more to say than ``ok``; the handshake is a message."
    return f"{_comment(words)}export interface Answers {{\n{lines}}}\n"


def _comment(words: str, indent: str = "") -> str:
    text = re.sub(r"``(.*?)``", r"`\1`", words).replace("*/", "*\\/")
    text = re.sub(r"\bNone\b", "null", text)
    if len(indent) + len(text) + 7 <= _WIDTH:
        return f"{indent}/** {text} */\n"
    lines = textwrap.wrap(text, _WIDTH - len(indent) - 3)
    return f"{indent}/**\n" + "".join(f"{indent} * {line}\n" for line in lines) + f"{indent} */\n"


def _type(kind: ast.expr) -> str:
    """A type of Python as one of TypeScript."""
    if isinstance(kind, ast.Name):
        return _PLAIN.get(kind.id, kind.id)
    if isinstance(kind, ast.Constant):
        return "null" if kind.value is None else f'"{kind.value}"' if isinstance(kind.value, str) else str(kind.value)
    if isinstance(kind, ast.BinOp):
        return f"{_type(kind.left)} | {_type(kind.right)}"
    assert isinstance(kind, ast.Subscript)
    assert isinstance(kind.value, ast.Name)
    elements = kind.slice.elts if isinstance(kind.slice, ast.Tuple) else [kind.slice]
    endless = isinstance(elements[-1], ast.Constant) and elements[-1].value is ...
    parts = [_type(element) for element in elements[: len(elements) - endless]]
    if kind.value.id == "Literal":
        return " | ".join(parts)
    if kind.value.id == "dict":
        return f"Readonly<Record<{parts[0]}, {parts[1]}>>"
    if kind.value.id == "list" or endless:
        return f"readonly {parts[0]}[]" if parts[0].isidentifier() else f"readonly ({parts[0]})[]"
    return f"readonly [{', '.join(parts)}]"


if __name__ == "__main__":
    TARGET.write_text(typescript(), encoding="utf-8")
