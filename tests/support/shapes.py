"""Whether a value that has been read is what a type says: that of an answer, and all that it is made of."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

from rbkit_websocket.protocol.answers.process import ErrorAnswer
from rbkit_websocket.protocol.codec import unpack
from rbkit_websocket.protocol.commands import COMMANDS
from rbkit_websocket.protocol.constants import OK, Field


def mismatches(value: Any, kind: Any, path: str = "") -> Iterator[str]:
    """What is wrong, and where; nothing if it is right. Keys that no type names are wrong, and so are missing ones."""
    origin, parts = get_origin(kind), get_args(kind)
    if kind is Any or (kind is float and type(value) in (int, float)):
        return
    if is_typeddict(kind):
        yield from _mismatches_of_map(value, kind, path)
    elif origin in (Union, types.UnionType):
        if all(any(mismatches(value, part)) for part in parts):
            yield f"{path}: {value!r:.80} is none of {kind}"
    elif origin is Literal:
        if not any(value == part and type(value) is type(part) for part in parts):
            yield f"{path}: {value!r:.80} is none of {parts}"
    elif origin is dict and type(value) is dict:
        for key, item in value.items():
            yield from mismatches(key, parts[0], f"{path}.{key!r}")
            yield from mismatches(item, parts[1], f"{path}.{key!r}")
    elif origin in (list, tuple) and type(value) is list:
        kinds = parts * len(value) if origin is list else parts[:1] * len(value) if parts[-1] is ... else parts
        if len(kinds) != len(value):
            yield f"{path}: {len(value)} values, not {len(kinds)}"
        for number, (item, part) in enumerate(zip(value, kinds, strict=False)):
            yield from mismatches(item, part, f"{path}[{number}]")
    elif type(value) is not kind:
        yield f"{path}: {value!r:.80} is no {kind}"


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
    """Fails unless it is what the table says that the command answers (``error``: what one that cannot be done does)."""
    kinds = (ErrorAnswer,) if name == "error" else COMMANDS[name].answer
    if not kinds:
        assert data == OK, name
        return
    answer = unpack(data)
    if Field.EVENT_TYPE in answer:
        answer = answer[Field.PAYLOAD]
    wrong = [list(mismatches(answer, kind, name)) for kind in kinds]
    assert [] in wrong, wrong
