"""Snapshots as clients ask for them: states, chunks, the ways they are made, what is refused, what is left behind."""

from __future__ import annotations

import gc
import os
import resource
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.embeddedpeer import Peer, unpack
from support.program import run
from support.waiting import wait_until

from rbkit_websocket.profilers.heap import dumpfile, memory_limits, snapshot
from rbkit_websocket.profilers.heap.dumpfile import DumpFile, open_unnamed
from rbkit_websocket.profilers.heap.memory_limits import Needs, shortage
from rbkit_websocket.profilers.heap.python_walk import HeapDump
from rbkit_websocket.profilers.heap.snapshot import Snapshot
from rbkit_websocket.server import Server
from rbkit_websocket.server.features import heap as snapshots

pytestmark = pytest.mark.small_heap

MIB = 1 << 20

needs_native = pytest.mark.skipif(snapshot.native is None, reason="the extension module _heap has not been built")
METHODS = [
    pytest.param("fork", marks=needs_native),
    pytest.param("in-process", marks=needs_native),
    "python",
]


class Leaked:
    """What a snapshot has to find."""


@pytest.fixture
def endpoints() -> Iterator[tuple[str, str]]:
    directory = Path("/tmp") / f"rbh-{os.getpid()}-{time.monotonic_ns():x}"
    directory.mkdir()
    yield f"ipc://{directory}/pub", f"ipc://{directory}/req"
    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()


@pytest.fixture
def make(endpoints: tuple[str, str]) -> Iterator[Any]:
    """Starts a server with options; gives a client of it."""
    made: list[Any] = []

    def start(**options: Any) -> tuple[Server, Peer]:
        server = Server([endpoints[0]], [endpoints[1]], **options)
        server.start()
        made.append(server)
        peer = Peer(*endpoints)
        made.append(peer)
        return server, peer

    yield start
    for thing in reversed(made):
        thing.stop() if isinstance(thing, Server) else thing.__exit__()


def done(peer: Peer, number: int) -> dict[str, Any]:
    return wait_until(
        lambda: (facts := peer.map(f"snapshot_status {number}"))["state"] != "running" and facts,
        "the snapshot",
        timeout=30,
    )


def pull(peer: Peer, facts: dict[str, Any]) -> dict[int, dict[int, Any]]:
    found: dict[int, dict[int, Any]] = {}
    for number in range(facts["chunks"]):
        chunk = peer.map(f"snapshot_chunk {facts['id']} {number}")
        assert (chunk["id"], chunk["n"], chunk["state"]) == (facts["id"], number, "done")
        assert (chunk["chunks"], chunk["total"]) == (facts["chunks"], facts["objects"])
        assert len(chunk["objects"]) <= 1000
        found.update((item[3], item) for item in chunk["objects"])
    assert len(found) == facts["objects"]
    return found


@pytest.fixture
def method(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[str, dict[str, Any]]:
    if request.param == "python":
        monkeypatch.setattr(snapshot, "native", None)
        monkeypatch.setattr(snapshot, "_without", "a test does without it")
    return request.param, {"snapshot_fork": request.param == "fork"}


@pytest.mark.smoke
@pytest.mark.parametrize("method", METHODS, indirect=True)
def test_a_snapshot_is_begun_awaited_and_pulled(make: Any, method: tuple[str, dict[str, Any]]) -> None:
    leaked = [Leaked() for _ in range(3)]
    name, options = method
    _, peer = make(**options)
    assert peer.handshake()["heap_snapshot"].startswith(name)
    begun = peer.map("snapshot_start")
    assert (begun["id"], begun["state"], begun["method"]) == (1, "running", name)
    assert begun["objects"] is None
    assert bool(begun["why"]) == (name != "fork")
    facts = done(peer, 1)
    assert facts["state"] == "done"
    assert facts["objects_so_far"] == facts["objects"] > 1000
    assert name == "in-process" or 0 < facts["objects_expected"] <= facts["objects"]
    assert facts["chunks"] == -(-facts["objects"] // 1000)
    assert (facts["pause_ms"] is None) == (name == "python")
    assert facts["bytes"] > facts["objects"] * 20
    found = pull(peer, facts)
    assert all(found[id(one)][4] == f"{__name__}.Leaked" for one in leaked)
    assert all(reference in found for item in found.values() for reference in item[5])


@pytest.mark.parametrize("method", ["python"], indirect=True)
def test_the_walk_in_python_leaves_out_what_it_is_made_by(make: Any, method: tuple[str, dict[str, Any]]) -> None:
    _, peer = make(**method[1])
    peer.map("snapshot_start")
    found = pull(peer, done(peer, 1)).values()
    running = [item for item in found if item[4] in ("generator", "frame")]
    makers = (snapshots.Snapshots._make, Snapshot.make, Snapshot._walk_in_python, HeapDump.chunks, HeapDump._collect)
    places = {(maker.__code__.co_filename, maker.__code__.co_firstlineno): maker.__qualname__ for maker in makers}
    assert running, "the test runner's"
    assert [places[item[6], item[7]] for item in running if (item.get(6), item.get(7)) in places] == []
    # The dump's own lists would be by far the longest ones.
    longest = max(len(item[5]) for item in found if item[4] == "list")
    assert longest < len(found) / 4


@pytest.mark.parametrize("method", METHODS, indirect=True)
def test_the_standard_command_publishes_the_same_dump_whole(make: Any, method: tuple[str, dict[str, Any]]) -> None:
    leaked = Leaked()
    server, peer = make(**method[1], snapshot_rate=10**9)
    peer.subscribe()
    wait_until(server.audience, "the subscription")
    peer.req.send(b"objectspace_snapshot")
    ids: list[int] = []
    totals: set[int] = set()
    for message in peer.messages(30):
        (event,) = message[2]
        assert (event[0], event[10]) == (5, 1)
        totals.add(event[11])
        ids += [item[3] for item in event[2]]
        if len(ids) >= event[11]:
            break
    assert peer.req.recv() == b"ok"
    assert [len(ids)] == [len(set(ids))] == list(totals)
    assert id(leaked) in ids


@needs_native
def test_a_second_one_while_one_runs_is_the_same(make: Any) -> None:
    _, peer = make()
    kept = [[number] for number in range(200_000)]
    assert [peer.map("snapshot_start")["id"] for _ in range(3)] == [1, 1, 1]
    assert peer.map("snapshot_chunk 1 0").get("state") == "running"
    done(peer, 1)
    assert peer.map("snapshot_start")["id"] == 2
    done(peer, 2)
    assert kept


@needs_native
def test_the_standard_command_publishes_the_one_that_runs(make: Any) -> None:
    kept = [[number] for number in range(200_000)]
    server, peer = make(snapshot_rate=10**9)
    peer.subscribe()
    wait_until(server.audience, "the subscription")
    assert peer.map("snapshot_start")["state"] == "running"
    peer.req.send(b"objectspace_snapshot")
    event = next(peer.messages(30))[2][0]
    assert peer.req.recv() == b"ok"
    facts = peer.map("snapshot_status 1")
    assert (facts["state"], facts["objects"]) == ("done", event[11])
    assert peer.map("snapshot_status 2")["error"] == "unknown_snapshot"
    assert kept


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("snapshot_start now", "bad_argument"),
        ("snapshot_status", "bad_argument"),
        ("snapshot_status x", "bad_argument"),
        ("snapshot_status 9", "unknown_snapshot"),
        ("snapshot_chunk 1", "bad_argument"),
        ("snapshot_chunk 1 -1", "bad_argument"),
        ("snapshot_chunk 9 0", "unknown_snapshot"),
        ("snapshot_chunk 1 100000", "bad_argument"),
    ],
)
def test_wrong_arguments_are_told(make: Any, command: str, code: str) -> None:
    _, peer = make()
    peer.map("snapshot_start")
    done(peer, 1)
    answer = peer.map(command)
    assert answer["error"] == code
    assert answer["message"]


def test_the_two_youngest_are_kept_and_only_for_a_while(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "_TIDY_EVERY", 0.05)
    process = psutil.Process()
    _, peer = make()
    peer.handshake()
    before = process.num_fds()
    for number in (1, 2, 3):
        peer.map("snapshot_start")
        done(peer, number)
    assert peer.map("snapshot_status 1")["error"] == "unknown_snapshot"
    assert peer.map("snapshot_chunk 2 0")["objects"]
    monkeypatch.setattr(snapshots, "KEPT_FOR", 0.1)
    wait_until(lambda: process.num_fds() == before, "the files to be closed")
    assert peer.map("snapshot_chunk 3 0")["error"] == "unknown_snapshot"


def test_the_files_have_no_name_and_end_with_the_server(make: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(dumpfile, "_is_in_memory", lambda _descriptor: False)
    server, peer = make()
    peer.map("snapshot_start")
    done(peer, 1)
    assert list(tmp_path.iterdir()) == []
    assert unnamed_files(str(tmp_path)) == 1
    server.stop()
    assert unnamed_files(str(tmp_path)) == 0


def unnamed_files(where: str = "/") -> int:
    """How many of our descriptors lead to files that have been unlinked."""
    found = 0
    for fd in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the listing's own
            link = os.readlink(f"/proc/self/fd/{fd}")
            found += link.startswith(where) and link.endswith("(deleted)")
    return found


@needs_native
def test_stopping_while_a_child_works_leaves_no_child(make: Any) -> None:
    kept = [[number] for number in range(300_000)]
    others = set(psutil.Process().children())  # servers that live as long as the whole run
    server, peer = make()
    assert peer.map("snapshot_start")["method"] == "fork"
    assert set(psutil.Process().children()) - others
    server.stop()
    assert set(psutil.Process().children()) <= others
    assert kept


@needs_native
def test_a_child_that_is_killed_is_told(make: Any) -> None:
    kept = [[number] for number in range(300_000)]
    others = set(psutil.Process().children())
    _, peer = make()
    peer.map("snapshot_start")
    (child,) = set(psutil.Process().children()) - others
    child.kill()
    facts = done(peer, 1)
    assert facts["state"] == "failed"
    assert "killed" in facts["message"]
    assert peer.map("snapshot_chunk 1 0")["error"] == "failed"
    assert peer.map("snapshot_start")["id"] == 2
    assert done(peer, 2)["state"] == "done"
    assert kept


@needs_native
def test_without_room_for_a_child_it_is_made_in_the_process_or_refused(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        memory_limits, "_limits", lambda _root: iter([(psutil.Process().memory_info().rss // 3, "the limit")])
    )
    monkeypatch.setattr(snapshot, "needs", lambda: Needs(psutil.Process().memory_info().rss, MIB, MIB))
    server, peer = make()
    facts = peer.map("snapshot_start")
    assert facts["method"] == "in-process"
    assert "the limit leaves" in facts["why"]
    assert done(peer, 1)["state"] == "done"
    server.heap._pause = False
    answer = peer.map("snapshot_start")
    assert answer["error"] == "refused"
    assert "the limit leaves" in answer["message"]
    assert "snapshot_pause" in answer["message"]
    peer.subscribe()
    wait_until(server.audience, "the subscription")
    assert peer.map("objectspace_snapshot")["error"] == "refused"
    monkeypatch.setattr(memory_limits, "_limits", lambda _root: iter([(0, "the limit")]))
    server.heap._pause = True
    assert "no room for a snapshot" in peer.map("snapshot_start")["message"]


def test_without_a_place_for_the_file_it_is_refused(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, peer = make()
    monkeypatch.setattr(snapshots, "directories", lambda _runtime: ["/proc", "/nowhere"])
    answer = peer.map("snapshot_start")
    assert answer["error"] == "refused"
    assert "TMPDIR" in answer["message"]


@needs_native
def test_a_disk_that_fills_up_is_told(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    descriptor = os.open("/dev/full", os.O_RDWR)
    monkeypatch.setattr(snapshot, "open_unnamed", lambda _where, _size: (descriptor, False))
    _, peer = make()
    peer.map("snapshot_start")
    facts = done(peer, 1)
    assert facts["state"] == "failed"
    assert "No space" in facts["message"]


# -- memory limits


def meminfo(root: Path, available: int) -> None:
    (root / "proc/self").mkdir(parents=True, exist_ok=True)
    (root / "proc/meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable: {available >> 10} kB\n")
    (root / "proc/self/status").write_text("VmSize:\t 1024 kB\nRssAnon:\t 512 kB\n")


def group(root: Path, version: int, path: str, files: dict[str, object], mount_root: str = "/") -> Path:
    point = "sys/fs/cgroup" if version == 2 else "sys/fs/cgroup/memory"
    kind = "cgroup2 cgroup2 rw" if version == 2 else "cgroup cgroup rw,memory"
    (root / "proc/self/mountinfo").write_text(f"30 20 0:26 {mount_root} /{point} rw - {kind}\n")
    (root / "proc/self/cgroup").write_text(f"0::{path}\n" if version == 2 else f"4:memory:{path}\n1:cpu:/\n")
    inside = path.removeprefix(mount_root if mount_root != "/" else "").strip("/")
    directory = root / point / inside
    directory.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (directory / name).write_text(f"{value}\n")
    return root / point


NEED = Needs(private=100 * MIB, tables=10 * MIB, file=50 * MIB)


def test_room_is_what_the_machine_has_left(tmp_path: Path) -> None:
    meminfo(tmp_path, 61 * MIB)
    assert shortage(NEED, forked=True, file_in_memory=False, root=tmp_path) is None
    assert "MemAvailable" in str(shortage(NEED, forked=True, file_in_memory=True, root=tmp_path))
    meminfo(tmp_path, 59 * MIB)
    assert "59 MiB, 60 MiB are needed" in str(shortage(NEED, forked=True, file_in_memory=False, root=tmp_path))
    assert shortage(NEED, forked=False, file_in_memory=False, root=tmp_path) is None


@pytest.mark.parametrize("mount_root", ["/", "/docker/abc"])
@pytest.mark.parametrize("version", [1, 2])
def test_room_is_what_the_control_group_has_left(tmp_path: Path, version: int, mount_root: str) -> None:
    meminfo(tmp_path, 10_000 * MIB)
    names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    spare = "inactive_file" if version == 2 else "total_inactive_file"
    files = {names[0]: 1000 * MIB, names[1]: 950 * MIB, "memory.stat": f"{spare} {20 * MIB}"}
    top = group(tmp_path, version, "/docker/abc", files, mount_root)
    assert shortage(NEED, forked=True, file_in_memory=False, root=tmp_path) is None
    assert names[0] in str(shortage(NEED, forked=True, file_in_memory=True, root=tmp_path))
    no_limit = "max" if version == 2 else 9223372036854771712
    inside = top if mount_root != "/" else top / "docker/abc"
    (inside / names[0]).write_text(f"{no_limit}\n")
    assert shortage(NEED, forked=True, file_in_memory=True, root=tmp_path) is None


def test_where_a_group_dies_as_a_whole_all_of_it_is_reckoned_with(tmp_path: Path) -> None:
    meminfo(tmp_path, 10_000 * MIB)
    files = {"memory.max": 1000 * MIB, "memory.current": 900 * MIB}
    top = group(tmp_path, 2, "/a", files)
    assert shortage(NEED, forked=True, file_in_memory=False, root=tmp_path) is None
    (top / "a/memory.oom.group").write_text("1\n")
    assert shortage(NEED, forked=True, file_in_memory=False, root=tmp_path) is not None


def test_a_system_that_tells_nothing_is_trusted(tmp_path: Path) -> None:
    assert shortage(NEED, forked=True, file_in_memory=True, root=tmp_path) is None


@needs_native
def test_a_limit_of_the_address_space_refuses_a_child() -> None:
    script = """
        import resource
        from rbkit_websocket.profilers.process.procfs import fields
        from rbkit_websocket.profilers.heap.memory_limits import needs, shortage
        from pathlib import Path
        size = fields(Path("/proc/self/status"))["VmSize"]
        resource.setrlimit(resource.RLIMIT_AS, (size + (4 << 20), resource.RLIM_INFINITY))
        print(shortage(needs(), forked=True, file_in_memory=False))
    """
    result = run(script)
    assert result.stdout.startswith("RLIMIT_AS leaves"), result.stderr


def test_this_process_is_measured() -> None:
    need = memory_limits.needs()
    assert MIB < need.private <= psutil.Process().memory_info().rss * 1.1
    assert need.tables > 16 * MIB
    assert resource.getrlimit(resource.RLIMIT_AS)


# -- files


def test_a_file_is_read_by_chunks_and_an_unfinished_one_is_not(tmp_path: Path) -> None:
    descriptor, _ = open_unnamed([str(tmp_path)], 1000)
    file = DumpFile(descriptor)
    assert os.fstat(descriptor).st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError, match="not whole"):
        file.read_end()
    file.append(b"one")
    file.append(b"")
    file.append(b"three")
    file.seal(2005)
    assert [file.chunk(number) for number in range(3)] == [(1000, b"one"), (1000, b""), (5, b"three")]
    assert (file.objects, file.chunks, file.size) == (2005, 3, 8)
    with pytest.raises(IndexError):
        file.chunk(3)
    file.close()
    file.close()


def test_without_unnamed_files_one_is_unlinked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "O_TMPFILE")
    descriptor, _ = open_unnamed(["/nowhere", str(tmp_path)], 1000)
    assert list(tmp_path.iterdir()) == []
    assert os.fstat(descriptor).st_mode & 0o777 == 0o600
    os.close(descriptor)


def test_a_disk_is_preferred_to_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory, disk = tmp_path / "memory", tmp_path / "disk"
    memory.mkdir()
    disk.mkdir()
    monkeypatch.setattr(dumpfile, "_is_in_memory", lambda fd: "memory" in os.readlink(f"/proc/self/fd/{fd}"))
    for candidates, in_memory in (([memory, memory, disk], False), ([memory, memory], True)):
        descriptor, found = open_unnamed(map(str, candidates), 1)
        assert found == in_memory
        assert (str(memory) in os.readlink(f"/proc/self/fd/{descriptor}")) == in_memory
        os.close(descriptor)
    with pytest.raises(OSError, match="No space"):
        open_unnamed([str(disk)], 1 << 60)


# -- under gevent


@needs_native
def test_under_gevents_child_watcher_no_zombie_stays() -> None:
    script = """
        from gevent import monkey; monkey.patch_all()
        import gevent, subprocess, psutil
        # This makes the hub's loop watch children: it reaps whatever it is told of by SIGCHLD.
        assert subprocess.run(["true"]).returncode == 0
        from rbkit_websocket.server import Server
        answers = []
        server = Server()
        server.respond_callback = answers.append
        server.start()
        import msgpack
        for number in range(1, 6):
            server.process_incoming_request("snapshot_start")
            while True:
                gevent.sleep(0.02)
                server.process_incoming_request(f"snapshot_status {number}")
                gevent.sleep(0.02)
                facts = msgpack.unpackb(answers[-1])
                if facts.get("state") == "done" and facts["id"] == number:
                    assert facts["method"] == "fork", facts
                    break
        while psutil.Process().children():  # the last one ends
            gevent.sleep(0.01)
        assert subprocess.run(["false"]).returncode == 1
        server.stop()
        print("clean")
    """
    result = run(script)
    assert (result.stdout, result.returncode) == ("clean\n", 0), result.stderr


def test_many_snapshots_leave_nothing(make: Any) -> None:
    process = psutil.Process()
    others = set(process.children())  # servers that live as long as the whole run
    _, peer = make()
    for number in range(1, 4):
        peer.map("snapshot_start")
        done(peer, number)
    gc.collect()
    descriptors, memory = process.num_fds(), process.memory_info().rss
    for number in range(4, 24):
        peer.map("snapshot_start")
        done(peer, number)
    assert process.num_fds() <= descriptors
    wait_until(lambda: set(process.children()) <= others, "the last child to be reaped")
    assert process.memory_info().rss - memory < 16_000_000


def test_a_fork_of_the_application_keeps_none_of_it(make: Any) -> None:
    server, peer = make()
    peer.map("snapshot_start")
    done(peer, 1)
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        before = unnamed_files()
        # What register_at_fork does for a server that ensure_embedded() made.
        server.after_in_child()
        os.write(write, str(before - unnamed_files()).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    answer = os.read(read, 10)
    os.close(read)
    os.close(write)
    assert answer == b"1"
    assert unpack(peer.ask("snapshot_chunk 1 0"))["objects"]
