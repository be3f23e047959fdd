"""The dump that the extension module makes, compared with what Python itself sees; and the child that makes it."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import socket
import sys
import textwrap
import threading
import time
import types
from array import array
from collections import deque
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.heaps import compare, dump, dump_here, dump_in_child, finish, new_file, read
from support.program import run
from support.servers import alive
from support.touchy import EvilKey, Forbidden, Touchy
from support.waiting import scaled, wait_until

from rbkit_websocket.profilers.base import class_name
from rbkit_websocket.profilers.heap.snapshot import native

pytestmark = [
    pytest.mark.skipif(native is None, reason="the extension module _heap has not been built"),
    pytest.mark.small_heap,
]

ASAN = "libasan" in os.environ.get("LD_PRELOAD", "")

OBJECTS = int(os.environ.get("RBKIT_TEST_HEAP_OBJECTS", "30000" if ASAN else "300000"))
"""How many are compared. Two million take 20 s and 250 MB."""


class Node:
    def __init__(self, *others: object) -> None:
        self.others = others


class Slotted:
    __slots__ = ("a", "b")


@pytest.fixture(params=[dump_here, dump_in_child], ids=["in this process", "in a child"])
def make(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def found_by(make: Any) -> Any:
    return partial(dump, make)


def zoo() -> list[Any]:
    """Objects whose sizes and references are each had in a way of their own."""
    text = "\u00e9" * 50
    text.encode()

    class Local(Node):
        pass

    async def coroutine() -> None:
        pass

    return [
        Local(1, "two"),
        Slotted(),
        type("Made", (list,), {"x": 1})([1, 2]),
        deque(range(100)),
        array("i", range(100)),
        2**1000,
        -(5**300),
        0,
        1.5,
        3j,
        text,
        "\U0001f600" * 3,
        "\udc80",
        b"bytes",
        bytearray(1000),
        memoryview(b"abc"),
        set(range(1000)),
        frozenset(range(50)),
        range(5),
        slice(1, 2),
        {number: str(number) for number in range(1000)},
        [None] * 1000,
        (number for number in []),
        types.SimpleNamespace(a=1),
        types.MappingProxyType({}),
        ctypes.c_int(5),
        object(),
        lambda: None,
        threading.Lock(),
        coroutine,
        None,
        Ellipsis,
    ]


@pytest.mark.smoke
def test_the_dump_agrees_with_a_walk_in_python_object_by_object(make: Any) -> None:
    made = [Node(Slotted(), number + 10**6, f"node {number}") for number in range(OBJECTS // 4)]
    result = compare(make)
    assert result.wrong == []
    assert result.objects >= result.compared >= OBJECTS
    # Whatever looks at this process meanwhile, coverage or another thread, changes a few.
    assert result.changed <= 100
    assert len(made) == OBJECTS // 4


def test_sizes_and_references_are_right_however_a_type_keeps_them(found_by: Any) -> None:
    animals = zoo()
    found = found_by()
    for animal in animals:
        item = found[id(animal)]
        assert item[4] == class_name(type(animal))
        assert item[8] == sys.getsizeof(animal), type(animal)
        assert item[5] == list(dict.fromkeys(map(id, gc.get_referents(animal)))), type(animal)


def test_sizes_of_classes_are_those_of_getsizeof() -> None:
    classes = [int, type, dict, Node, Slotted, type("Made", (Node,), {}), BaseException, types.FunctionType]
    sizes = [sys.getsizeof(cls) for cls in classes]
    found = dump()
    assert [found[id(cls)][8] for cls in classes] == sizes


def test_every_reference_is_in_the_dump_and_comes_once(found_by: Any) -> None:
    leaf = Node()
    root = Node(leaf, leaf, *[leaf, "a", "b"] * 20)
    found = found_by()
    assert all(reference in found for item in found.values() for reference in item[5])
    assert sorted(found[id(root.others)][5]) == sorted({id(leaf), id(root.others[3]), id(root.others[4])})
    assert all(len(item[5]) == len(set(item[5])) for item in found.values())


def test_places_are_those_of_the_code_and_an_instance_has_that_of_its_class_apart(found_by: Any) -> None:
    async def later() -> Any:
        yield 1

    # (A frame that runs is unknown to the collector from 3.11 on, and one that has ended keeps those that called it.)
    generator, asynchronous = (number for number in [1]), later()
    frame = generator.gi_frame
    node = Node()
    found = found_by()
    for obj, code in (
        (zoo, zoo.__code__),
        (zoo.__code__, zoo.__code__),
        (generator, generator.gi_code),
        (asynchronous, later.__code__),
        (frame, frame.f_code),
    ):
        assert (found[id(obj)][6], found[id(obj)][7]) == (__file__, code.co_firstlineno)
    line = Node.__dict__.get("__firstlineno__")
    assert (found[id(Node)][6], found[id(Node)].get(7)) == (__file__, line)
    assert found[id(textwrap)][6] == textwrap.__file__
    item = found[id(node)]
    assert (item.get(6), item.get(7), item[16], item.get(17)) == (None, None, __file__, line)
    assert 16 not in found[id(node.others)]


@pytest.mark.filterwarnings("ignore:non-string key")
def test_no_code_of_the_application_runs(found_by: Any) -> None:
    touchy = Touchy()
    evil = type("Evil", (), {EvilKey("__module__"): 1, EvilKey("__sizeof__"): 2, EvilKey("__firstlineno__"): 3})()
    lying = type("Lying", (), {"__module__": "shop", "__qualname__": "Lying", "__sizeof__": list.__sizeof__})()
    nameless = type("Nameless", (), {"__module__": 5})()
    surrogate = type("Odd", (), {"__module__": "shop\udc80"})()
    Forbidden.asked.clear()
    found = found_by()
    assert Forbidden.asked == []
    assert found[id(touchy)][4] == f"{Touchy.__module__}.Touchy"
    assert found[id(touchy)][8] == sys.getsizeof(Node()), "the size of the type's own C code"
    assert found[id(evil)][8] == sys.getsizeof(Node())
    assert found[id(lying)][4] == "shop.Lying"
    assert found[id(lying)][8] == sys.getsizeof(Node()), "another type's method is not called"
    assert found[id(nameless)][4] == "Nameless"
    assert found[id(surrogate)][4] == "shop\\udc80.Odd"


def test_frozen_objects_are_in_the_dump() -> None:
    trace = pytest.importorskip(
        "rbkit_websocket.native._trace", reason="the extension module _trace has not been built"
    )
    if not trace.CAN_COUNT:
        pytest.skip("no public list has frozen objects, and the collector's own are not known here")
    node = Node()
    gc.freeze()
    try:
        assert id(node) in dump()
    finally:
        gc.unfreeze()


def test_collections_are_off_meanwhile_and_on_again_afterwards() -> None:
    seen: list[Any] = []
    gc.callbacks.append(lambda *arguments: seen.append(arguments))
    try:
        file = new_file()
        assert native is not None
        native.dump(file.descriptor)
        assert seen == []
        assert gc.isenabled()
        gc.disable()
        native.dump(file.descriptor)
        assert not gc.isenabled()
    finally:
        gc.enable()
        gc.callbacks.pop()
        file.close()


def test_a_list_longer_than_a_chunk_and_an_empty_one_are_whole(found_by: Any) -> None:
    long = list(range(10**6, 10**6 + 70_000))
    empty: list[Any] = []
    found = found_by()
    assert set(found[id(long)][5]) == set(map(id, long))
    assert found[id(empty)][5] == []


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    assert native is not None
    descriptor = os.open(os.devnull, os.O_RDONLY)
    try:
        with pytest.raises(OSError, match="Bad file"):
            native.dump(descriptor)
        pid, reports, _ = native.fork_dump(descriptor)
        wait_until(lambda: native.reap(pid), "the child to end")
        assert os.read(reports, 4096)[-16:-8] == (4).to_bytes(8, sys.byteorder), "an error was reported"
        os.close(reports)
    finally:
        os.close(descriptor)


# -- the child


@pytest.fixture
def held() -> Iterator[tuple[int, int]]:
    """A child that waits a while before it walks: pid and its pipe."""
    assert native is not None
    file = new_file()
    pid, reports, _ = native.fork_dump(file.descriptor, 300, 30.0)
    wait_until(lambda: len(os.listdir(f"/proc/{pid}/fd")) == 2, "the child to close its descriptors")
    yield pid, reports
    while not native.reap(pid, True):
        time.sleep(0.005)
    os.close(reports)
    file.close()


def test_the_childs_descriptors_are_its_output_and_its_pipe(held: tuple[int, int]) -> None:
    names = [os.readlink(f"/proc/{held[0]}/fd/{fd}") for fd in os.listdir(f"/proc/{held[0]}/fd")]
    assert sorted("pipe" in name for name in names) == [False, True]


def test_a_peer_sees_the_end_of_a_connection_while_a_child_works() -> None:
    assert native is not None
    ours, peer = socket.socketpair()
    file = new_file()
    pid, reports, _ = native.fork_dump(file.descriptor, 300, 30.0)
    try:
        wait_until(lambda: len(os.listdir(f"/proc/{pid}/fd")) == 2, "the child to close its descriptors")
        ours.close()
        peer.settimeout(scaled(2))
        assert peer.recv(1) == b""
        assert psutil.pid_exists(pid)
    finally:
        peer.close()
        native.reap(pid, True)
        finish(pid, reports)
        file.close()


def test_the_child_is_the_first_to_go_when_memory_runs_out(held: tuple[int, int]) -> None:
    proc = Path(f"/proc/{held[0]}")
    wait_until(lambda: (proc / "comm").read_text().strip() == "rbkit-heap", "the child's name")
    assert (proc / "oom_score_adj").read_text().strip() == "1000"
    assert psutil.Process(held[0]).nice() >= min(psutil.Process().nice() + 10, 19)


def test_the_child_takes_no_handler_of_ours(held: tuple[int, int]) -> None:
    status = Path(f"/proc/{held[0]}/status").read_text()
    masks = dict(line.split(":\t") for line in status.splitlines() if line.startswith("Sig"))
    assert int(masks["SigCgt"], 16) & ~(3 << 31) == 0, "but for libc's own two"
    assert int(masks["SigBlk"], 16) == 0


def test_signals_are_as_they_were_in_the_parent() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    dump(dump_in_child)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_the_child_dies_with_its_parent() -> None:
    result = run("""
        import os
        from rbkit_websocket.native import _heap
        pid, reports, _ = _heap.fork_dump(os.open("/tmp", os.O_TMPFILE | os.O_RDWR), 300, 30.0)
        print(pid, flush=True)
        os._exit(0)
    """)
    assert result.returncode == 0, result.stderr
    pid = int(result.stdout)
    wait_until(lambda: not alive(pid), "the child to die")


def test_the_child_dies_with_the_thread_that_forked_it() -> None:
    assert native is not None
    file = new_file()
    pids: list[tuple[int, int, int]] = []
    thread = threading.Thread(target=lambda: pids.append(native.fork_dump(file.descriptor, 300, 30.0)))
    thread.start()
    thread.join()
    finish(*pids[0][:2])
    file.close()


def test_the_child_ends_when_nobody_reads_its_reports_any_more() -> None:
    assert native is not None
    kept = list(range(10**6, 10**6 + 100_000))
    file = new_file()
    pid, reports, _ = native.fork_dump(file.descriptor, 300, 0.2)
    os.close(reports)
    wait_until(lambda: native.reap(pid), "the child to end")
    with pytest.raises(OSError, match="not whole"):
        file.read_end()
    file.close()
    assert kept


def test_the_child_does_not_work_for_ever() -> None:
    assert native is not None
    file = new_file()
    began = time.monotonic()
    pid, reports, _ = native.fork_dump(file.descriptor, 1, 30.0)
    finish(pid, reports)
    assert time.monotonic() - began < scaled(10)
    file.close()


def test_a_child_that_somebody_else_has_reaped_counts_as_gone() -> None:
    assert native is not None
    file = new_file()
    pid, reports, _ = native.fork_dump(file.descriptor)
    os.waitpid(pid, 0)
    assert native.reap(pid) is True
    assert native.reap(pid, True) is True
    os.close(reports)
    read(file)
    file.close()


def test_the_interpreters_hooks_around_a_fork_do_not_run() -> None:
    result = run("""
        import os, time
        from rbkit_websocket.native import _heap
        os.register_at_fork(before=lambda: print("before"), after_in_child=lambda: print("child"))
        pid, reports, _ = _heap.fork_dump(os.open("/tmp", os.O_TMPFILE | os.O_RDWR))
        while not _heap.reap(pid):
            time.sleep(0.01)
        print("done")
    """)
    assert (result.stdout, result.returncode) == ("done\n", 0), result.stderr


@pytest.mark.skipif(ASAN, reason="a fork may find the sanitizer's allocator locked by another thread, for ever")
def test_dumps_while_threads_are_born_and_die() -> None:
    stop = threading.Event()

    def breed() -> None:
        while not stop.is_set():
            thread = threading.Thread(target=lambda: [Node(number) for number in range(50)])
            thread.start()
            thread.join()

    breeders = [threading.Thread(target=breed) for _ in range(3)]
    for breeder in breeders:
        breeder.start()
    try:
        for _ in range(3):
            assert len(dump(dump_in_child)) > 10_000
            assert len(dump()) > 10_000
    finally:
        stop.set()
        for breeder in breeders:
            breeder.join()


@pytest.mark.skipif(ASAN, reason="the sanitizer keeps what is freed")
def test_many_dumps_leak_neither_memory_nor_descriptors_nor_children() -> None:
    for _ in range(3):
        dump(dump_in_child)
        dump()
    gc.collect()
    process = psutil.Process()
    others = set(process.children())  # servers that live as long as the whole run
    descriptors, memory, blocks = process.num_fds(), process.memory_info().rss, sys.getallocatedblocks()
    assert native is not None
    for _ in range(20):
        file = new_file()
        native.dump(file.descriptor)
        pid, reports, _ = native.fork_dump(file.descriptor)
        finish(pid, reports)
        file.close()
    assert process.num_fds() == descriptors
    assert set(process.children()) <= others
    assert sys.getallocatedblocks() - blocks < 500
    assert process.memory_info().rss - memory < 8_000_000
