"""The dump of a heap, made and read, and held against a walk of the same heap by gc alone."""

from __future__ import annotations

import gc
import os
import sys
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgpack

from rbkit_websocket.profilers.base import class_name
from rbkit_websocket.profilers.heap.dumpfile import DumpFile, directories, open_unnamed
from rbkit_websocket.profilers.heap.snapshot import native

from .waiting import wait_until

Item = dict[int, Any]


def new_file() -> DumpFile:
    return DumpFile(open_unnamed(directories(), 0)[0])


def finish(pid: int, reports: int) -> None:
    """Waits for a child; its pipe is at its end."""
    assert native is not None
    wait_until(lambda: native.reap(pid), "the child to end", timeout=60)
    os.close(reports)


def dump_here(file: DumpFile) -> None:
    """In this process."""
    assert native is not None
    objects, _ = native.dump(file.descriptor)
    file.read_end()
    assert file.objects == objects


def dump_in_child(file: DumpFile) -> None:
    """In a forked child."""
    assert native is not None
    pid, reports, _ = native.fork_dump(file.descriptor)
    finish(pid, reports)
    file.read_end()


def items(file: DumpFile) -> Iterator[Item]:
    """All objects of a dump, checked for the promises of the file but one: see :func:`read`."""
    count = 0
    for number in range(file.chunks):
        told, body = file.chunk(number)
        unpacker = msgpack.Unpacker(
            raw=False, strict_map_key=False, unicode_errors="surrogateescape", max_buffer_size=0
        )
        unpacker.feed(body)
        chunk = list(unpacker)
        assert len(chunk) == told == min(1000, file.objects - 1000 * number)
        count += told
        yield from chunk
    assert count == file.objects


def read(file: DumpFile) -> dict[int, Item]:
    """All objects by id, and no id twice."""
    file.read_end()
    found = {item[3]: item for item in items(file)}
    assert len(found) == file.objects, "an id comes twice"
    return found


def dump(make: Callable[[DumpFile], None] = dump_here) -> dict[int, Item]:
    """A dump made and read."""
    file = new_file()
    try:
        make(file)
        return read(file)
    finally:
        file.close()


def walk(own: set[int]) -> list[Any]:
    """Everything that the collector knows and that can be reached, by gc alone, but what is in ``own``."""
    objects = [obj for obj in gc.get_objects() if id(obj) not in own]
    known = own | set(map(id, objects))
    position = 0
    while position < len(objects):
        for obj in gc.get_referents(objects[position]):
            if id(obj) not in known:
                known.add(id(obj))
                objects.append(obj)
        position += 1
    return objects


_mro = type.__dict__["__mro__"].__get__
_flags = type.__dict__["__flags__"].__get__
_namespace = type.__dict__["__dict__"].__get__
_HEAPTYPE = 1 << 9


class Facts:
    """What gc and sys tell of objects, in few objects of its own however many there are."""

    def __init__(self) -> None:
        self._kinds: dict[int, tuple[str | None, bool]] = {}

    def of(self, obj: Any) -> tuple[str | None, int, int]:
        """Class, size (-1 if only code of the application's would tell), hash of the references."""
        cls = type(obj)
        kind = self._kinds.get(id(cls))
        if kind is None:
            # sys.getsizeof would run a __sizeof__ written in Python.
            silent = any("__sizeof__" in _namespace(base) for base in _mro(cls) if _flags(base) & _HEAPTYPE)
            kind = self._kinds[id(cls)] = class_name(cls), silent or issubclass(cls, type)
        name, unsized = kind
        return name, -1 if unsized else sys.getsizeof(obj), hash(frozenset(map(id, gc.get_referents(obj))))


@dataclass(frozen=True)
class Comparison:
    """What came of one.

    Attributes:
        objects: how many gc knows.
        compared: how many the dump was right or wrong about.
        changed: the others: size or references were not the same before the dump and after it.
        wrong: what differs, in words.
    """

    objects: int
    compared: int
    changed: int
    wrong: list[str]


def compare(make: Callable[[DumpFile], None]) -> Comparison:
    """Walks the heap, dumps it with ``make``, and holds each object of the one against the other."""
    file = new_file()
    gc.collect()
    gc.disable()  # or it would change what is walked
    try:
        facts = Facts()
        names: list[str | None] = []
        ids, sizes, references = array("Q"), array("q"), array("q")
        own = {id(value) for value in (facts, facts._kinds, names, ids, sizes, references, sys._getframe())}
        objects = walk(own)
        objects.sort(key=id)
        ids.extend(map(id, objects))
        for obj in objects:
            name, size, reference = facts.of(obj)
            names.append(name)
            sizes.append(size)
            references.append(reference)
        make(file)
        seen = bytearray(len(objects))
        wrong: list[str] = []
        compared = changed = 0
        for item in items(file):
            number = bisect_left(ids, item[3])
            if number == len(ids) or ids[number] != item[3]:
                continue  # made since
            if seen[number]:
                wrong.append(f"{item[3]:#x} comes twice")
            seen[number] = 1
            obj = objects[number]
            known = names[number], sizes[number], references[number]
            if facts.of(obj) != known:
                changed += 1
                continue
            compared += 1
            told = item.get(4), item.get(8) if known[1] >= 0 else -1, hash(frozenset(item[5]))
            if told != known or len(set(item[5])) != len(item[5]):
                wrong.append(f"{known[0]}, {known[1]} bytes, {len(gc.get_referents(obj))} references: {item}"[:300])
        # The list keeps them alive, so none of them may be missing.
        wrong += [f"{name} is missing" for name, found in zip(names, seen, strict=True) if not found]
        return Comparison(len(objects), compared, changed, wrong)
    finally:
        gc.enable()
        file.close()
