"""Objects traced in C: every birth and every end of the classes asked for, in order, whatever the class is like."""

from __future__ import annotations

import abc
import collections
import dataclasses
import datetime
import decimal
import enum
import gc
import os
import random
import sys
import threading
import time
import types
import typing
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from support.tracing import TRUE_MECHANISMS, counted, native, told, traced

from rbkit_websocket.profilers.base import class_name

pytestmark = native
exactly = pytest.mark.parametrize("mechanism", TRUE_MECHANISMS)
HERE = __name__


class Plain:
    def __init__(self, value: object = None) -> None:
        self.value = value


class Child(Plain):
    pass


class Slotted:
    __slots__ = ("value",)


class Empty:
    __slots__ = ()


class Meta(type):
    pass


class WithMeta(metaclass=Meta):
    pass


class Abstract(abc.ABC):
    @abc.abstractmethod
    def other(self) -> None:
        pass


class Concrete(Abstract):
    def other(self) -> None:
        pass


@dataclasses.dataclass(slots=True)
class Record:
    value: int = 1


class Pair(typing.NamedTuple):
    one: int = 1
    two: int = 2


class Boxed(typing.Generic[typing.TypeVar("T")]):
    pass


class Makes:
    """Has a __new__ of its own."""

    def __new__(cls, *_arguments: object) -> Makes:
        return super().__new__(cls)


def subclass(base: type, **namespace: object) -> type:
    return type(f"{'Slotted' * bool(namespace)}Of{base.__name__}", (base,), {"__module__": HERE, **namespace})


OF_C = {
    base: subclass(base)
    for base in (
        dict, list, tuple, set, frozenset, int, float, complex, str, bytes, bytearray, Exception, OSError, property,
        collections.deque, collections.OrderedDict, datetime.datetime, decimal.Decimal,
        threading.local, types.SimpleNamespace, weakref.ref, random.Random,
    )
}  # fmt: skip
ARGUMENTS: dict[type, tuple[Any, ...]] = {datetime.datetime: (2026, 1, 1), weakref.ref: (Plain,), int: (10**30,)}
SLOTTED = [subclass(base, __slots__=("value",)) for base in (dict, list, set, Exception)]
SLOTTED += [subclass(base, __slots__=()) for base in (tuple, str, int)]
CLASSES = [Plain, Child, Slotted, Empty, WithMeta, Concrete, Record, Pair, Boxed, Makes, *OF_C.values(), *SLOTTED]

# What makes or frees the objects of its subclasses past their slots, so that hooks do not reach them.
SILENT: tuple[type, ...] = ()
if sys.version_info >= (3, 14):
    SILENT = (list, set, frozenset)
if sys.version_info >= (3, 15):
    SILENT = (dict, *SILENT)


def reached(mechanism: int, cls: type) -> bool:
    import support.tracing as shared

    return mechanism != shared._trace.HOOKS or not issubclass(cls, SILENT)


of_each_class = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)


@exactly
@of_each_class
def test_what_the_hooks_do_not_reach_is_named(mechanism: int, cls: type) -> None:
    with traced(f"{HERE}.*", mechanism=mechanism) as trace:
        assert (class_name(cls) in trace.unseen()) is not reached(mechanism, cls)


@exactly
@of_each_class
def test_each_instance_is_counted_where_bytecode_has_learnt_the_class(mechanism: int, cls: type) -> None:
    arguments = ARGUMENTS.get(cls.__mro__[1], ())

    def make() -> None:
        for _ in range(1000):
            cls(*arguments)

    make()  # before: what is specialized by now has to be undone
    with traced(f"{HERE}.*", mechanism=mechanism):
        make()
        assert counted().get(class_name(cls)) == ((1000, 1000) if reached(mechanism, cls) else None)


@exactly
@of_each_class
def test_each_instance_is_created_and_destroyed(mechanism: int, cls: type) -> None:
    base = cls.__mro__[1]
    arguments = ARGUMENTS.get(base, ())
    name = class_name(cls)
    with traced(f"{HERE}.*", mechanism=mechanism):
        began = time.time() * 1000
        thing = cls(*arguments)
        identity = id(thing)
        del thing
        cls(*arguments)
        ended = time.time() * 1000
        events = [event for event in told() if event.name == name]
        if not reached(mechanism, cls):
            assert (events, counted().get(name)) == ([], None)
            return
        assert [event.created for event in events] == [True, False, True, False]
        assert [event.identity for event in events[:2]] == [identity, identity]
        assert all(began - 1 <= event.milliseconds <= ended + 1 for event in events)
        assert counted()[name] == (2, 2)


@exactly
def test_identities_that_are_used_again_come_in_order(mechanism: int) -> None:
    with traced(f"{HERE}.Plain", mechanism=mechanism):
        for _ in range(500):
            Plain()
        events = told()
        assert len(events) == 1000
        if "libasan" not in os.environ.get("LD_PRELOAD", ""):  # which keeps freed memory for a while
            assert len({event.identity for event in events}) < 500, "an address was used again"
        alive = set()
        for event in events:
            assert (event.identity in alive) is not event.created
            (alive.add if event.created else alive.remove)(event.identity)
        assert not alive
        assert [event.milliseconds for event in events] == sorted(event.milliseconds for event in events)


@exactly
def test_garbage_in_cycles_ends_when_it_is_collected(mechanism: int) -> None:
    with traced(f"{HERE}.Plain", mechanism=mechanism):
        one = Plain()
        one.value = Plain(one)
        del one
        assert [event.created for event in told()] == [True, True]
        gc.collect()
        assert [event.created for event in told()] == [False, False]


@exactly
def test_what_fails_to_be_made_has_begun_and_ended(mechanism: int) -> None:
    class Fails:
        def __init__(self) -> None:
            raise ValueError("in __init__")

    class FailsLate:
        def __new__(cls) -> FailsLate:
            made = super().__new__(cls)
            raise ValueError(f"in __new__ of {id(made)}")

    class FailsEarly:
        def __new__(cls) -> FailsEarly:
            raise ValueError("before it was made")

    with traced(f"{HERE}.*", mechanism=mechanism):
        for cls in (Fails, FailsLate, FailsEarly):
            with pytest.raises(ValueError):
                cls()
        counts = {name.rpartition(".")[2]: count for name, count in counted().items()}
    assert counts["Fails"] == counts["FailsLate"] == (1, 1)
    assert "FailsEarly" not in counts


@exactly
def test_a_finalizer_that_fails_changes_nothing(mechanism: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "unraisablehook", lambda _what: None)  # pytest's own keeps the object

    class Bad:
        def __del__(self) -> None:
            raise ValueError("in __del__")

    with traced(f"{HERE}.*", mechanism=mechanism):
        Bad()
        assert [event.created for event in told()] == [True, False]


def test_what_is_brought_back_has_not_ended() -> None:
    kept: list[object] = []

    class Phoenix:
        def __del__(self) -> None:
            if not kept:
                kept.append(self)

    with traced(f"{HERE}.*"):
        Phoenix()
        assert [event.created for event in told()] == [True]
        kept[:] = [None]
        assert [event.created for event in told()] == [False]


@exactly
def test_classes_that_are_born_later_are_seen(mechanism: int) -> None:
    def define() -> type:
        class Later(Plain):
            pass

        return Later

    with traced(f"{HERE}.*", mechanism=mechanism):
        later = define()
        later()
        made = type("Made", (Slotted,), {"__module__": HERE})
        made()
        point = collections.namedtuple("Point", "x y", module=HERE)
        point(1, 2)

        class Colour(enum.Enum):
            RED = 1

        with_meta = Meta("Metamade", (), {"__module__": HERE})
        with_meta()
        other = type("Other", (Plain,), {"__module__": "elsewhere"})
        other()
        counts = {name.rpartition(".")[2]: count for name, count in counted().items()}
        assert {"Later": (1, 1), "Made": (1, 1), "Point": (1, 1), "Metamade": (1, 1)}.items() <= counts.items()
        assert "Other" not in counts
        assert Colour.RED.value == 1


def test_a_class_that_dies_while_it_is_traced_leaves_nothing() -> None:
    with traced(f"{HERE}.*") as trace:
        before = trace.status()["classes"]
        for _ in range(300):
            cls = type("Passing", (Plain,), {"__module__": HERE, "blob": bytearray(10_000)})
            seen = weakref.ref(cls)
            instance = cls()
            instance.value = instance
            del cls, instance
        gc.collect()
        assert trace.newborn() is not None
        gc.collect()
        assert seen() is None
        assert trace.status()["classes"] <= before, "some of other tests may have gone as well"
        assert trace.status()["live"] == 0
        events = told()
        assert len(events) == 600
        assert {event.name for event in events} == {f"{HERE}.Passing"}


# -- hooks leave no trace


def slots(cls: type) -> tuple[int, ...]:
    """tp_alloc, tp_free and tp_dealloc, as addresses."""
    import ctypes

    word = ctypes.sizeof(ctypes.c_void_p)
    # PyTypeObject: PyVarObject is three words; tp_alloc, tp_new and tp_free are slots 35 to 37 behind it, tp_dealloc 3.
    return tuple(ctypes.c_size_t.from_address(id(cls) + (3 + slot) * word).value for slot in (3, 35, 37))


def test_every_slot_is_what_it_was() -> None:
    everyone = [type, Meta, abc.ABCMeta, Plain, Child, Slotted, Pair, *OF_C.values()]
    before = [slots(cls) for cls in everyone]
    with traced("*"):
        assert slots(Plain) != before[everyone.index(Plain)]
        assert slots(Plain)[0] == before[everyone.index(Plain)][0], "tp_dealloc is left alone"
        assert slots(type) != before[0]
        during = type("During", (Plain,), {})
        meta_during = type("MetaDuring", (type,), {})
        sum(range(10))  # somewhere to look at the new classes
        assert slots(during) == slots(Plain)
    assert [slots(cls) for cls in everyone] == before
    assert slots(during) == slots(Plain)
    assert slots(meta_during) == slots(Meta)


@pytest.mark.parametrize(("traced_one", "other"), [("Plain", "Child"), ("Child", "Plain")])
def test_the_class_of_an_object_may_still_be_changed(traced_one: str, other: str) -> None:
    one, another = globals()[traced_one], globals()[other]
    with traced(f"{HERE}.{traced_one}"):
        thing = one()
        thing.__class__ = another
        del thing
        thing = another()
        thing.__class__ = one
        del thing
        events = told()
        assert [event.created for event in events] == [True, False]
    thing = one()
    thing.__class__ = another
    assert slots(Plain) == slots(Child)


def test_the_bases_of_a_class_may_still_be_changed() -> None:
    class First:
        pass

    class Second:
        pass

    class Third(First):
        pass

    with traced("*.Second"):
        Third.__bases__ = (Second,)
        Third()
        Third.__bases__ = (First,)
    Third.__bases__ = (Second,)
    assert issubclass(Third, Second)


def test_a_module_may_still_get_a_class_of_its_own() -> None:
    class Special(types.ModuleType):
        pass

    with traced("*") as trace:
        module = types.ModuleType("special")
        module.__class__ = Special
        assert trace.status()["refused"] > 0
    assert type(module) is Special


def test_specialized_calls_are_seen_and_go_on_after_the_end() -> None:
    def make() -> None:
        for _ in range(200):
            Plain(1)

    for _ in range(50):
        make()  # warm: calls of the class are specialized where Python does that
    for _ in range(3):
        with traced(f"{HERE}.Plain"):
            make()
            assert counted()[f"{HERE}.Plain"] == (200, 200)
        make()


# -- what is kept is bounded


def test_each_created_that_is_told_gets_its_destroyed_however_full_it_is() -> None:
    with traced(f"{HERE}.Plain", max_live=16) as trace:
        kept = [Plain() for _ in range(100)]
        del kept
        for _ in range(100):
            Plain()
        events = told()
        created = [event for event in events if event.created]
        assert 16 <= len(created) <= 32
        assert len(events) == 2 * len(created)
        assert trace.status()["skipped"] == 200 - len(created)
        assert counted()[f"{HERE}.Plain"] == (200, 200), "all are counted"


def test_one_in_so_many_and_a_quota() -> None:
    with traced(f"{HERE}.Plain") as trace:
        trace.limit(10, 1000)
        for _ in range(1000):
            Plain()
        assert 2 * 70 <= len(told()) <= 2 * 130
        trace.limit(1, 7)
        for _ in range(100):
            Plain()
        assert len(told()) == 14


def test_of_objects_made_in_turns_each_kind_is_followed() -> None:
    with traced(f"{HERE}.*") as trace:
        trace.limit(10, 100_000)
        for _ in range(2000):
            Plain()
            Slotted()
        found = collections.Counter(event.name for event in told() if event.created)
        assert 120 <= found[f"{HERE}.Plain"] <= 280
        assert 120 <= found[f"{HERE}.Slotted"] <= 280


def test_the_place_where_an_object_was_made() -> None:
    def here() -> Plain:
        return Plain()

    def there() -> Makes:
        return Makes()

    with traced(f"{HERE}.*", sites=True) as trace:
        kept = [here() for _ in range(3)]
        there()
        names = trace.names(0)
        found = {(names[number], code): (born, alive) for number, code, _, born, alive in trace.sites()}
        assert found[f"{HERE}.Plain", here.__code__] == (3, 3)
        assert found[f"{HERE}.Makes", Makes.__new__.__code__] == (1, 0)
        del kept[:2]
        assert [alive for _, code, _, _, alive in trace.sites() if code is here.__code__] == [1]


# -- names and patterns


class Awkward:
    __module__ = 7  # type: ignore[assignment]


class Forbidding(type):
    def __getattribute__(cls, name: str) -> Any:
        raise AssertionError(f"asked for {name}")

    def __eq__(cls, other: object) -> bool:
        raise AssertionError("compared")

    __hash__ = None  # type: ignore[assignment]


@exactly
def test_names_are_what_the_rest_of_the_package_says(mechanism: int) -> None:
    hostile = Forbidding("Hostile", (), {"__module__": HERE})
    broken = type("Broken", (), {"__module__": "sur\ud800rogate"})
    with traced("*Awkward", f"{HERE}.*", "Hostile", mechanism=mechanism):
        made = [Awkward(), hostile(), Plain(), broken()]
        events = told()
    # A name that is no text on the wire matches no pattern, and harms nothing.
    assert [event.name for event in events if event.created] == ["Awkward", f"{HERE}.Hostile", f"{HERE}.Plain"]
    assert class_name(Awkward) == "Awkward"
    assert len(made) == 4


@pytest.mark.parametrize(
    ("pattern", "seen"),
    [
        (f"{HERE}.Plain", {"Plain"}),
        (f"{HERE}", {"Plain", "Child", "Slotted"}),
        (f"{HERE}.*", {"Plain", "Child", "Slotted"}),
        ("*.Pl*n", {"Plain"}),
        ("*", {"Plain", "Child", "Slotted"}),
        ("**l*d*", {"Child", "Slotted"}),
        ("Plain", set()),
        (f"{HERE}.Plain*x", set()),
        ("", set()),
    ],
)
def test_patterns(pattern: str, seen: set[str]) -> None:
    with traced(pattern) as trace:
        for cls in (Plain, Child, Slotted):
            cls()
        assert {event.name.rpartition(".")[2] for event in told()} == seen
        assert trace.status()["live"] == 0


def test_what_is_no_use_is_refused() -> None:
    import support.tracing as shared

    trace = shared._trace
    with pytest.raises(ValueError, match="power of two"):
        trace.start(trace.HOOKS, ("*",), 100, False)
    with pytest.raises(TypeError, match="a pattern is a str"):
        trace.start(trace.HOOKS, (7,), 64, False)
    with pytest.raises(RuntimeError, match="does not work here"):
        trace.start(99, ("*",), 64, False)
    with traced("nothing"), pytest.raises(RuntimeError, match="already"):
        trace.start(trace.HOOKS, ("*",), 64, False)
    assert trace.stop() == []
    assert trace.drain(10) == trace.counts() == trace.sites() == trace.names(0) == []


@pytest.mark.skipif(sys.version_info < (3, 13), reason="the reference tracer came with 3.13")
def test_the_reference_tracer_sees_types_of_c() -> None:
    import support.tracing as shared

    with traced("collections.deque", "dict", mechanism=shared._trace.REFERENCES):
        kept: list[object] = [collections.deque(), {"a": 1}]
        names = [event.name for event in told() if event.created]
        kept.clear()  # C code lets go of them, which every version tells
        ends = [event.name for event in told() if not event.created]
    assert {"collections.deque", "dict"} <= set(names)
    assert {"collections.deque", "dict"} <= set(ends)


# -- threads, and again and again


def busy(until: Callable[[], bool]) -> int:
    made = 0
    while not until():
        things = [Plain() for _ in range(20)]
        things[0].value = things  # a cycle
        made += len(things)
        for _ in range(20):
            Child(made)
        made += 20
    return made


def test_threads_make_objects_while_it_is_switched_on_and_off() -> None:
    done = threading.Event()
    threads = [threading.Thread(target=busy, args=(done.is_set,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for number in range(20):
            with traced(f"{HERE}.*", max_live=1 << 10, sites=True, among=[Plain, Child, type]) as trace:
                for _ in range(5):
                    type("Fleeting", (Plain,), {"__module__": HERE})()
                    alive = {event.identity for event in told() if event.created}
                    trace.sites()
                    if number % 7 == 0:
                        gc.collect()
                    assert len(alive) <= 1 << 11
    finally:
        done.set()
        for thread in threads:
            thread.join()


def test_all_threads_are_counted() -> None:
    gc.collect()  # what other threads have left
    made: list[int] = []
    deadline = time.monotonic() + 0.3
    with traced(f"{HERE}.*"):
        threads = [
            threading.Thread(target=lambda: made.append(busy(lambda: time.monotonic() > deadline))) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        gc.collect()
        counts = counted()
    assert sum(born for born, _ in counts.values()) == sum(died for _, died in counts.values()) == sum(made)


def test_a_muted_thread_is_not_seen() -> None:
    with traced(f"{HERE}.*") as trace:
        trace.mute(True)
        try:
            Plain()
        finally:
            trace.mute(False)
        assert told() == []
        Plain()
        assert len(told()) == 2
