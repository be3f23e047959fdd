"""A heap dump in Python, in slices: the way without the extension module.

A slice is a millisecond. A few steps cannot be divided and grow with the heap: getting the collector's list, and
letting go of it at the end (together some 100 ms per million objects).

The dump holds every object that the collector knows and all objects reachable from them, each once, without the
objects of this module itself. Its objects are kept alive until it ends, so that an identity means one object. The
process goes on meanwhile: an object's references are read when it is written, and references to objects outside the
dump are left out.

Sizes are those of the type's own C code, with the collector's header as ``sys.getsizeof`` counts it; a ``__sizeof__``
written in Python is passed over, as no application code runs here. File and line are known of functions, code, frames,
generators, coroutines, modules and classes; an instance has its class's place in fields of their own.
"""

from __future__ import annotations

import gc
import inspect
import sys
import types
from collections.abc import Iterator
from typing import Any, Final

from ...protocol.codec import Packer
from ...protocol.constants import OBJECTS_PER_MESSAGE
from ...protocol.packing import dump_event
from ...system.clock import time
from ..base import Host, class_name
from ..memory.fallback_tracer import Followed

__all__ = ["HeapDump"]

_CHUNK: Final = 100
_HEAPTYPE: Final = 1 << 9  # Py_TPFLAGS_HEAPTYPE: not one of C's static types
_HAVE_GC: Final = 1 << 14  # Py_TPFLAGS_HAVE_GC
_MANAGED: Final = 1 << 3 | 1 << 4  # Py_TPFLAGS_MANAGED_WEAKREF, Py_TPFLAGS_MANAGED_DICT: two words in front of it
_WORD: Final = 8 if sys.maxsize > 2**32 else 4

_mro = type.__dict__["__mro__"].__get__
_namespace = type.__dict__["__dict__"].__get__
_flags = type.__dict__["__flags__"].__get__
_type_module = type.__dict__["__module__"].__get__
_module_namespace = vars(types.ModuleType)["__dict__"].__get__


class HeapDump:
    """One dump; :meth:`chunks` makes it, :meth:`close` releases its objects.

    Args:
        host: the process.
        correlation_id: the number of this dump, in each of its events.

    Attributes:
        total: objects in it, from the first chunk on.
    """

    def __init__(self, host: Host, correlation_id: int) -> None:
        self._host = host
        self._correlation_id = correlation_id
        self.total = 0
        self._objects: list[Any] = []
        self._known: set[int] = set()
        self._kinds: dict[int, _ObjectKind] = {}
        self._files: dict[str, str | None] = {}
        self._packer = Packer()

    def events(self) -> Iterator[bytes | None]:
        """Packed events, with None in between as :meth:`chunks` yields it."""
        for chunk in self.chunks():
            yield None if chunk is None else dump_event(time.time() * 1000, self._correlation_id, self.total, *chunk)

    def chunks(self) -> Iterator[tuple[int, bytes] | None]:
        """At most 1000 packed objects each, with their number; None in between, after each millisecond or so, to let
        others work."""
        yield from self._collect()
        total = self.total = len(self._objects)
        for start in range(0, total, OBJECTS_PER_MESSAGE):
            count = min(OBJECTS_PER_MESSAGE, total - start)
            parts: list[bytes] = []
            for chunk in range(start, start + count, _CHUNK):
                parts.extend(map(self._pack, self._objects[chunk : min(chunk + _CHUNK, start + count)]))
                yield None
            yield count, b"".join(parts)

    def close(self) -> None:
        """Lets go of the objects, in the application's own thread."""
        self._known = set()
        self._kinds = {}
        objects, self._objects = self._objects, []
        self._host.release(objects)

    def _collect(self) -> Iterator[None]:
        objects, known = self._objects, self._known
        found = gc.get_objects()
        own, codes = self._own_identities(found)
        try:
            for start in range(0, len(found), _CHUNK * 10):
                part = found[start : start + _CHUNK * 10]
                # Each generator above us, down from the loop that drives it, runs now: it waits for the one below.
                own.update(
                    id(obj)
                    for obj in part
                    if type(obj) is types.GeneratorType and obj.gi_running and obj.gi_code in codes
                )
                fresh = [obj for obj in part if id(obj) not in own and type(obj) is not Followed]
                objects.extend(fresh)
                known.update(map(id, fresh))
                del part, fresh
                yield None
        finally:
            self._host.release(found)
        position = 0
        # The list grows while we walk it: strings, numbers and other objects that the collector does not know.
        while position < len(objects):
            for obj in gc.get_referents(*objects[position : position + _CHUNK]):
                identity = id(obj)
                if identity not in known and identity not in own and type(obj) is not Followed:
                    known.add(identity)
                    objects.append(obj)
            position += _CHUNK
            yield None

    def _own_identities(self, found: list[Any]) -> tuple[set[int], set[types.CodeType]]:
        """Identities of this dump's own objects and of its thread's frames, and the code of frames of generators.

        A dump that held its own generators could only be ended by the collector, in any order.
        """
        mine = [self, self.__dict__, self._objects, self._known, self._kinds, self._files, self._packer, found]
        own = set(map(id, mine))
        own.add(id(mine))
        codes: set[types.CodeType] = set()
        frame: Any = sys._getframe()
        while frame is not None:
            own.add(id(frame))
            if frame.f_code.co_flags & inspect.CO_GENERATOR:
                codes.add(frame.f_code)
            frame = frame.f_back
        own |= {id(own), id(codes)}
        return own, codes

    def _pack(self, obj: Any) -> bytes:
        cls = type(obj)
        kind = self._kinds.get(id(cls))
        if kind is None:
            kind = self._kinds[id(cls)] = _ObjectKind(cls, *self._place_of_class(cls))
        known = self._known
        references = [identity for identity in map(id, gc.get_referents(obj)) if identity in known]
        if len(references) > 1:
            references = list(dict.fromkeys(references))
        # Keys 3, 4, 5, 8: OBJECT_ID, CLASS_NAME, REFERENCES, SIZE; 6 and 7: FILE, LINE; 16 and 17: CLASS_FILE,
        # CLASS_LINE. Unknown fields are left out, and fields that are always known come first: the desktop client reads
        # an object up to the first nil.
        fields: dict[int, Any] = {3: id(obj)}
        if kind.name is not None:
            fields[4] = kind.name
        fields[5] = references
        if (size := kind.size(obj)) is not None:
            fields[8] = size
        if kind.placed:
            file, line = self._place(obj)
            if file is not None:
                fields[6] = file
                if line is not None:
                    fields[7] = line
        fields.update(kind.place)
        return self._packer.pack(fields)  # type: ignore[no-any-return]

    def _place(self, obj: Any) -> tuple[str | None, int | None]:
        """File and line of an object whose type is in ``_PLACED``, or is a class or a module."""
        if issubclass(type(obj), type):
            return self._place_of_class(obj)
        if issubclass(type(obj), types.ModuleType):
            return _module_file(obj), None
        code = obj
        if type(obj) is not types.CodeType:
            code = getattr(obj, _PLACED[type(obj)])
        return code.co_filename, code.co_firstlineno

    def _place_of_class(self, cls: type) -> tuple[str | None, int | None]:
        module = _plain(_type_module, cls)
        if type(module) is not str or not _flags(cls) & _HEAPTYPE:
            return None, None
        if module not in self._files:
            self._files[module] = _module_file(sys.modules.get(module))
        line = _namespace(cls).get("__firstlineno__")
        return self._files[module], line if type(line) is int else None


# The attribute that leads to the code; none of these types can be subclassed, so no application code answers.
_PLACED: Final[dict[type, str]] = {
    types.CodeType: "",
    types.FunctionType: "__code__",
    types.FrameType: "f_code",
    types.GeneratorType: "gi_code",
    types.CoroutineType: "cr_code",
    types.AsyncGeneratorType: "ag_code",
}
_PLACED_IDS: Final = frozenset(map(id, _PLACED))


def _plain(getter: Any, cls: type) -> Any:
    try:
        return getter(cls)
    except AttributeError:
        return None


def _module_file(module: Any) -> str | None:
    if not issubclass(type(module), types.ModuleType):
        return None
    file = (_module_namespace(module) or {}).get("__file__")
    return file if type(file) is str else None


class _ObjectKind:
    """Facts that all objects of a class share: the name, and the way to their size."""

    __slots__ = ("_measure", "_overhead", "name", "place", "placed")

    def __init__(self, cls: type, file: str | None, line: int | None) -> None:
        self.name = class_name(cls)
        self.place: dict[int, Any] = {}
        if file is not None:
            self.place = {16: file} if line is None else {16: file, 17: line}
        self.placed = id(cls) in _PLACED_IDS or issubclass(cls, (type, types.ModuleType))
        self._overhead = 0
        self._measure: Any = None
        for base in _mro(cls):
            method = _namespace(base).get("__sizeof__")
            if type(method) is types.MethodDescriptorType:
                break
            if method is not None:
                self._measure = method  # written in Python: passed over
        else:
            method = None
        if self._measure is None:
            self._measure = sys.getsizeof
        else:
            self._measure = method
            flags = _flags(cls)
            self._overhead = 2 * _WORD * (bool(flags & _HAVE_GC) + bool(flags & _MANAGED))

    def size(self, obj: Any) -> int | None:
        """Bytes, or None when the type does not tell."""
        try:
            return int(self._measure(obj)) + self._overhead
        except (TypeError, ValueError, OverflowError, AttributeError):
            return None
