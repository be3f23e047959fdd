"""The heap snapshot, the object events, collections and their figures."""

from __future__ import annotations

import gc
import sys
import threading
import time
import types
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from support.embeddedpeer import unpack
from support.touchy import Forbidden, Touchy
from support.waiting import wait_until

from rbkit_websocket.profilers.base import Host, class_name
from rbkit_websocket.profilers.greenlets.registry import GreenletRegistry
from rbkit_websocket.profilers.heap.python_walk import HeapDump
from rbkit_websocket.profilers.memory import fallback_tracer as objects
from rbkit_websocket.profilers.memory.fallback_tracer import ObjectWatch
from rbkit_websocket.profilers.process import gcstats, procfs
from rbkit_websocket.profilers.process.gcstats import KEYS, GcWatch, gc_stats
from rbkit_websocket.server.originals import AppThread, make_host


@pytest.fixture
def host() -> Iterator[Host]:
    app = AppThread()
    host = make_host(app)
    host.release = list.clear
    yield host
    app.close()


class Node:
    def __init__(self, *others: object) -> None:
        self.others = others


def dump(host: Host) -> dict[int, dict[int, Any]]:
    """All objects of a dump by id, checked for the protocol's promises."""
    heap = HeapDump(host, 3)
    found: dict[int, dict[int, Any]] = {}
    count = 0
    for message in heap.events():
        if message is None:
            continue
        event = unpack(message)
        assert (event[0], event[10]) == (5, 3)
        assert len(event[2]) <= 1000
        count += len(event[2])
        found.update((item[3], item) for item in event[2])
        total = event[11]
    heap.close()
    assert len(found) == count == total
    return found


@pytest.mark.smoke
def test_every_object_is_there_once_with_its_class_size_and_references(host: Host) -> None:
    leaf = Node()
    text = "".join(["a string ", "that nobody else has"])
    root = Node(leaf, leaf, text)
    found = dump(host)
    item = found[id(root)]
    assert set(item) - {17} == {3, 4, 5, 8, 16}, "no place of its own: what is not known is left out"
    assert item[16] == __file__, "the place of the class"
    assert item[4] == f"{__name__}.Node"
    assert item[8] == sys.getsizeof(root)
    tuples = found[id(root.others)]
    assert tuples[4] == "tuple"
    assert sorted(tuples[5]) == sorted({id(leaf), id(text)}), "each reference once"
    assert found[id(text)][4] == "str"
    assert found[id(text)][8] == sys.getsizeof(text)
    assert found[id(text)][5] == []
    assert all(reference in found for entry in found.values() for reference in entry[5])


def test_places_are_known_of_functions_code_classes_modules_and_generators(host: Host) -> None:
    generator = (number for number in [1])
    node = Node()
    found = dump(host)
    for obj in (dump, dump.__code__, generator):
        code = getattr(obj, "__code__", None) or getattr(obj, "gi_code", None) or obj
        assert (found[id(obj)][6], found[id(obj)][7]) == (__file__, code.co_firstlineno)
    assert found[id(Node)][6] == __file__
    assert found[id(sys.modules["json"])][6] == sys.modules["json"].__file__
    assert 6 not in found[id(node)]


def test_no_code_of_the_application_runs(host: Host) -> None:
    touchy = Touchy()
    Forbidden.asked.clear()
    found = dump(host)
    assert Forbidden.asked == []
    item = found[id(touchy)]
    assert item[4] == f"{Touchy.__module__}.Touchy"
    assert item[8] > 1, "the size of the type's own C code"


def test_an_overridden_size_is_passed_over_and_the_rest_counts_as_getsizeof_does(host: Host) -> None:
    class Plain:
        pass

    class Sized:
        def __sizeof__(self) -> int:
            return 10**9

    plain, sized = Plain(), Sized()
    found = dump(host)
    assert found[id(sized)][8] == found[id(plain)][8] == sys.getsizeof(plain)


def test_what_the_dump_works_with_is_not_in_it_and_nothing_stays_alive(host: Host) -> None:
    heap = HeapDump(host, 1)
    node = Node()
    seen = weakref.ref(node)
    classes = set()
    for message in heap.events():
        if message is not None:
            event = unpack(message)
            classes |= {item[4] for item in event[2]}
            assert id(heap) not in {item[3] for item in event[2]}
            assert id(heap._objects) not in {item[3] for item in event[2]}
    heap.close()
    assert f"{__name__}.Node" in classes
    del node
    assert seen() is None


@pytest.mark.parametrize(
    ("cls", "name"),
    [
        (int, "int"),
        (type, "type"),
        (types.FunctionType, "function"),
        (Node, f"{__name__}.Node"),
        (Touchy, f"{Touchy.__module__}.Touchy"),
        (type("odd", (), {"__module__": 5}), "odd"),
        (type("lone", (), {"__module__": "\udc80"}), "\udc80.lone"),
    ],
)
def test_class_names_are_qualified_and_builtins_bare(cls: type, name: str) -> None:
    assert class_name(cls) == name


# -- object events


@pytest.fixture
def watch(host: Host) -> Iterator[ObjectWatch]:
    gc.collect()
    watch = ObjectWatch(host)
    watch.start()
    yield watch
    watch.stop()


def events(watch: ObjectWatch) -> list[dict[int, Any]]:
    return [unpack(event) for event in watch.drain(True)]


def test_objects_are_seen_at_the_next_collection_and_when_they_end(watch: ObjectWatch) -> None:
    node = Node()
    identity = id(node)
    gc.collect(0)
    created = [event for event in events(watch) if event[2][3] == identity]
    assert [(event[0], event[2]) for event in created] == [(0, {3: identity, 4: f"{__name__}.Node"})]
    gc.collect()
    assert not [event for event in events(watch) if event[2][3] == identity], "told once"
    del node
    destroyed = [event for event in events(watch) if event[2][3] == identity]
    assert [(event[0], event[2]) for event in destroyed] == [(1, {3: identity})]


def test_garbage_in_cycles_is_created_and_destroyed(watch: ObjectWatch) -> None:
    node = Node()
    node.others = (node,)
    identity = id(node)
    del node
    gc.collect()
    assert [event[0] for event in events(watch) if event[2][3] == identity] == [0, 1]


def test_what_takes_no_weak_reference_is_not_seen(watch: ObjectWatch) -> None:
    kept = [[1], {"a": []}, (object(), [])]
    gc.collect(0)
    identities = {id(kept), *map(id, kept)}
    assert not [event for event in events(watch) if event[2][3] in identities]


def test_no_code_of_the_application_runs_when_objects_are_followed(watch: ObjectWatch) -> None:
    touchy = Touchy()
    Forbidden.asked.clear()
    gc.collect(0)
    assert Forbidden.asked == []
    assert [event for event in events(watch) if event[2][3] == id(touchy)]


def test_the_number_of_followed_objects_is_bounded_and_the_rest_counted(
    watch: ObjectWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "MAX_FOLLOWED", 10)
    kept = [Node() for _ in range(500)]
    gc.collect(0)
    assert watch.followed < 10 + objects._BETWEEN_CLOCKS
    assert watch.skipped > 300
    assert len(kept) == 500


def test_time_is_bounded_and_what_is_skipped_is_counted(watch: ObjectWatch) -> None:
    watch._saved = -1.0
    kept = [Node() for _ in range(100)]
    gc.collect(0)
    assert watch.skipped >= 100
    assert not [event for event in events(watch) if event[2][3] in set(map(id, kept))]


def test_the_ends_of_objects_and_their_events_are_paid_for(watch: ObjectWatch) -> None:
    kept: list[Node] = []

    def followed_by_now() -> int:
        kept.extend(Node() for _ in range(3000))
        gc.collect(0)
        return watch.followed > 1000 and watch.followed

    followed = wait_until(followed_by_now, "a thousand that are followed")
    watch._saved = 0.0
    kept.clear()
    assert len(events(watch)) >= followed
    gc.collect(0)
    assert watch._saved < -followed * objects._END_COSTS / 2


def test_patterns_say_which_are_followed(host: Host) -> None:
    watch = ObjectWatch(host)
    watch.patterns = (f"{__name__}.N*", "nothing")
    watch.start()
    try:
        kept: list[object] = []

        def followed() -> set[str]:
            # A collection may have no time left for them.
            kept.extend((Node(), Touchy()))
            gc.collect(0)
            return {event[2][4] for event in events(watch)}

        assert wait_until(followed, "one that is followed") == {f"{__name__}.Node"}
    finally:
        watch.stop()


def test_stopping_unfollows(watch: ObjectWatch) -> None:
    node = Node()
    gc.collect(0)
    watch.stop()
    assert watch.followed == 0
    list(watch.drain(True))
    del node
    assert events(watch) == []
    assert watch._callback not in gc.callbacks


# -- collections


def test_a_collection_is_three_events_and_takes_time() -> None:
    watch = GcWatch()
    watch.start()
    watch.start()
    try:
        gc.collect()
        kinds = [unpack(event)[0] for event in watch.drain(True)]
        assert kinds[:3] == [2, 3, 4]
        assert watch.take_time() > 0
        assert watch.take_time() == 0
    finally:
        watch.stop()
        watch.stop()
    assert watch._callback not in gc.callbacks


@pytest.mark.smoke
def test_other_callbacks_are_part_of_a_collections_time_only_where_python_does_not_tell_it() -> None:
    def other(phase: str, _info: object) -> None:
        if phase == "start":
            time.sleep(0.2)

    watch = GcWatch()
    watch.start()
    gc.callbacks.append(other)
    try:
        gc.collect(0)
    finally:
        gc.callbacks.remove(other)
        watch.stop()
    longest = max(microseconds for _, _, microseconds, _, _ in watch.history)
    assert (longest >= 200_000) == (sys.version_info < (3, 15))
    assert watch.spent_ms >= longest / 1000


def test_each_key_of_gc_stats_is_documented_and_truthful(host: Host) -> None:
    before = gc.get_stats()
    stats: dict[str, float] = {}
    # As the server does: in a thread that is not counted.
    asking = threading.Thread(target=lambda: stats.update(gc_stats(host, GreenletRegistry(host), 1.5)))
    asking.start()
    asking.join()
    for key in stats:
        assert key in KEYS or key[:-1] + "0" in KEYS, key
    assert stats["major_gc_count"] >= before[2]["collections"]
    assert stats["count"] == stats["minor_gc_count"] + stats["major_gc_count"]
    assert stats["gc_time_ms"] == 1.5
    assert stats["threads"] >= 1
    assert stats["total_memsize"] >= stats["total_heap_size"] > 1_000_000
    assert stats["open_fds"] > 2
    assert stats["heap_live_slots"] == pytest.approx(sys.getallocatedblocks(), rel=0.1)


def test_memory_figures_are_left_out_where_there_is_no_proc(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_arguments: object, **_options: object) -> str:
        raise FileNotFoundError

    with monkeypatch.context() as patch:
        patch.setattr(procfs.Path, "read_text", missing)
        patch.setattr(gcstats.os, "listdir", missing)
        stats = gc_stats(host, GreenletRegistry(host))
    assert not {"rss", "total_memsize", "total_heap_size", "open_fds"} & set(stats)
    assert "count" in stats
