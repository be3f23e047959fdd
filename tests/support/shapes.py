"""Whether a value that has been read is what a type says: that of an answer, and all that it is made of."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

from rbkit_websocket.protocol.codec import unpack
from rbkit_websocket.protocol.commands import COMMANDS
from rbkit_websocket.protocol.commands.command import ErrorAnswer
from rbkit_websocket.protocol.constants import OK, Field


def mismatches(value: Any, kind: Any, path: str = "") -> Iterator[str]:
    """What is wrong, and where; nothing if it is right. Keys that no type names are wrong, and so are missing ones."""
    if kind is Any or (kind is float and type(value) in (int, float)):
        return
    if is_typeddict(kind):
        yield from _mismatches_of_map(value, kind, path)
        return
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        right = not all(any(mismatches(value, part)) for part in parts)
    elif origin is Literal:
        right = any(value == part and type(value) is type(part) for part in parts)
    else:
        right = type(value) is (list if origin is tuple else origin or kind)
    if not right:
        yield f"{path}: {value!r:.80} is no {kind}"
    elif type(value) in (list, dict):
        yield from _mismatches_within(value, origin, parts, path)


def _mismatches_within(value: Any, origin: Any, parts: tuple[Any, ...], path: str) -> Iterator[str]:
    if origin is dict:
        pairs = [(item, part, key) for key in value for item, part in zip((key, value[key]), parts, strict=True)]
    elif origin in (list, tuple):
        kinds = parts if origin is tuple and parts[-1] is not ... else parts[:1] * len(value)
        if len(kinds) != len(value):
            yield f"{path}: {len(value)} values, not {len(kinds)}"
        pairs = list(zip(value, kinds, range(len(value)), strict=False))
    else:
        pairs = []  # of a union, which has been looked into
    for item, part, place in pairs:
        yield from mismatches(item, part, f"{path}[{place!r}]")


def _mismatches_of_map(value: Any, kind: Any, path: str) -> Iterator[str]:
    if type(value) is not dict:
        yield f"{path}: {value!r:.80} is no {kind.__name__}"
        return
    hints = get_type_hints(kind)
    for key in value.keys() - hints.keys():
        yield f"{path}.{key}: no key of {kind.__name__}"
    for key in kind.__required_keys__ - value.keys():
        yield f"{path}.{key}: is missing"
    for key in value.keys() & hints.keys():
        yield from mismatches(value[key], hints[key], f"{path}.{key}")


def check_answer(name: str, data: bytes) -> None:
    """Fails unless it is what the table says that the command answers; ``error`` is one that cannot be done."""
    kinds = (ErrorAnswer,) if name == "error" else COMMANDS[name].answer
    if not kinds:
        assert data == OK, name
        return
    answer = unpack(data)
    if Field.EVENT_TYPE in answer:
        answer = answer[Field.PAYLOAD]
    wrong = [list(mismatches(answer, kind, name)) for kind in kinds]
    assert [] in wrong, wrong
