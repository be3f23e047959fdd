"""What lies in the runtime directory and is not what its name says: passed over, said once, never waited for."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from support.waiting import scaled

from rbkit_websocket.errors import RuntimeDirectoryError
from rbkit_websocket.fleet import records
from rbkit_websocket.fleet.records import Record, application_key, find_record, listing
from rbkit_websocket.fleet.tokenfile import generated_token
from rbkit_websocket.transport.curve import ServerKeys, write_key_pair

APP = "shop"

LISTING = """
import sys
from pathlib import Path
from rbkit_websocket.fleet import records
for record in records.listing(Path(sys.argv[1]), "shop"):
    print(record.id)
records.sweep(Path(sys.argv[1]))
"""


@pytest.fixture
def directory(runtime_dir: Path) -> Path:
    return records.runtime_directory(str(runtime_dir))


def record(directory: Path, server_id: str | None = None) -> Record:
    server_id = server_id or records.new_id()
    return Record.of_this_process(server_id, APP, f"unix://{records.socket_path(directory, APP, server_id)}")


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(300 * 1024 * 1024)


def changed(**values: object) -> Callable[[Path], None]:
    """Writes a record of this process with other values."""

    def write(path: Path) -> None:
        server_id = path.stem.partition("-")[2]
        path.write_text(json.dumps({**asdict(record(path.parent, server_id)), **values}))

    return write


def with_text(before: str, after: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        changed(started=-12345)(path)
        text = path.read_text()
        assert before in text
        path.write_text(text.replace(before, after))

    return write


def bound_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(path))


def link_to_fifo(path: Path) -> None:
    fifo = path.with_suffix(".fifo")
    os.mkfifo(fifo)
    path.symlink_to(fifo)


NO_FILES: dict[str, Callable[[Path], None]] = {
    "fifo": os.mkfifo,
    "directory": Path.mkdir,
    "full directory": lambda path: (path / "more").mkdir(parents=True),
    "socket": bound_socket,
    "endless device": lambda path: path.symlink_to("/dev/zero"),
    "link to a fifo": link_to_fifo,
    "link to itself": lambda path: path.symlink_to(path.name),
}
JUNK: dict[str, Callable[[Path], None]] = {
    **NO_FILES,
    "300 MB": huge,
    "nested lists": lambda path: path.write_text("[" * 30_000),
    "nested maps": lambda path: path.write_text('{"a":' * 6_000),
    "nested value": with_text("-12345", "[" * 5000 + "]" * 5000),
    "NaN": with_text("-12345", "NaN"),
    "Infinity": with_text("-12345", "-Infinity"),
    "overflow": with_text("-12345", "1e999"),
    "many digits": with_text("-12345", "1" * 10_000),
    "a time that no browser reads": with_text("-12345", "1" * 400),
    "before all time": changed(started=-1),
    "true": changed(pid=True),
    "half a pid": changed(pid=os.getpid() + 0.5),
    "a surrogate in the endpoint": changed(endpoint="unix:///tmp/\ud800"),
    "a surrogate in the name": changed(application="sh\ud800p"),
    "NUL in the endpoint": changed(endpoint="unix:///tmp/\0x"),
    "an endless endpoint": changed(endpoint="unix://" + "x" * 10_000),
    "an endpoint of ZeroMQ": changed(endpoint="tcp://127.0.0.1:5555"),
    "another application's": changed(application="other"),
}


@pytest.mark.parametrize("pid", ["this process", "init", "nobody"])
def test_junk_hides_no_server_and_is_not_waited_for(directory: Path, pid: str) -> None:
    mine = record(directory)
    mine.write(directory)
    number = {"this process": os.getpid(), "init": 1, "nobody": ended_process()}[pid]
    count = 0
    for suffix, kinds in (("json", JUNK), ("sock", NO_FILES), ("tmp", NO_FILES)):
        for make in kinds.values():
            junk = directory / f"{application_key(APP)}-{number}-{count:08x}.{suffix}"
            make(junk)
            os.utime(junk, (time.time() - 10, time.time() - 10), follow_symlinks=False)
            count += 1
    # Of another process, so that one that waits for ever can be ended.
    told = subprocess.run(
        [sys.executable, "-c", LISTING, str(directory)], capture_output=True, text=True, timeout=scaled(30)
    )
    assert (told.returncode, told.stdout.split()) == (0, [mine.id]), told.stderr
    assert find_record(directory, APP, mine.id) == mine
    for other in range(count):
        assert find_record(directory, APP, f"{number}-{other:08x}") is None


def ended_process() -> int:
    """Pid of a process that is gone."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_is_passed_over_is_said_once(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    fifo = directory / f"{application_key(APP)}-{os.getpid()}-00000000.json"
    os.mkfifo(fifo)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert listing(directory, APP) == []
    assert [entry.getMessage() for entry in caplog.records] == [
        f"rbkit: {fifo} is no record of a server that this version can read, and is passed over"
    ]


def test_more_records_than_anybody_has_are_not_all_read(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        foreign = asdict(record(directory))
        for number in range(10_000):
            server_id = f"{child.pid}-{number:08x}"
            path = directory / f"{application_key(APP)}-{server_id}.json"
            path.write_text(json.dumps({**foreign, "id": server_id}))
        mine = record(directory)
        mine.write(directory)
        with caplog.at_level(logging.WARNING):
            found = listing(directory, APP)
        assert mine in found, "this process's own is among them"
        assert len(found) <= 500
        assert find_record(directory, APP, f"{child.pid}-{9_999:08x}") is not None, (
            "whoever is asked for is found all the same"
        )
        assert [entry.getMessage() for entry in caplog.records] == [
            f"rbkit: {directory} holds more than 500 records; the rest are passed over, remove what is not needed"
        ]
    finally:
        child.communicate(b"\n")


def test_what_many_dead_servers_left_hides_no_living_one_and_goes_bit_by_bit(directory: Path) -> None:
    mine = record(directory)
    mine.write(directory)
    gone = ended_process()
    for number in range(3_000):
        path = directory / f"{application_key(APP)}-{gone}-{number:08x}.sock"
        path.touch()
        os.utime(path, (time.time() - 10, time.time() - 10))
    left = len(list(directory.iterdir()))
    while left > 1:
        assert listing(directory, APP) == [mine]
        before, left = left, len(list(directory.iterdir()))
        assert before - 500 <= left < before


def test_names_without_end_are_not_all_read(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(20_002):
        (directory / str(number)).touch()
    with caplog.at_level(logging.WARNING):
        listing(directory, APP)
        records.sweep(directory)
    assert [entry.getMessage() for entry in caplog.records] == [
        f"rbkit: {directory} holds more than 20000 files; the rest are passed over, remove what is not needed"
    ]


def test_a_directory_that_has_gone_lists_nothing(directory: Path) -> None:
    directory.rmdir()
    assert listing(directory, APP) == []
    records.sweep(directory)


OUT_OF_DESCRIPTORS = """
import os, resource, sys
from pathlib import Path
from rbkit_websocket.fleet import records
from rbkit_websocket.errors import RuntimeDirectoryError
directory = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
taken = []
while True:
    try:
        taken.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        break
for room in range(3):
    try:
        print(room, len(records.listing(directory, "shop")))
    except RuntimeDirectoryError as error:
        print(room, "cannot be read" in str(error))
    records.sweep(directory)
    os.close(taken.pop())
print("then", len(records.listing(directory, "shop")))
"""


def test_who_has_no_descriptor_to_look_with_removes_nothing(directory: Path) -> None:
    mine = record(directory)
    mine.write(directory)
    other = Record(**{**asdict(record(directory, "1-00000000")), "pid": 1, "pid_namespace": "pid:[1]"})
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(other.endpoint.removeprefix("unix://"))
        listener.listen(8)
        path = other.write(directory)
        os.utime(path, (time.time() - 10, time.time() - 10))
        files = sorted(directory.iterdir())
        told = subprocess.run(
            [sys.executable, "-c", OUT_OF_DESCRIPTORS, str(directory)],
            capture_output=True,
            text=True,
            timeout=scaled(30),
        )
        assert told.stdout.splitlines()[-1:] == ["then 2"], told.stdout + told.stderr
        assert told.stdout.splitlines()[0] == "0 True"
        assert sorted(directory.iterdir()) == files


@pytest.mark.parametrize("make", [JUNK[name] for name in ("fifo", "directory", "socket", "endless device", "300 MB")])
def test_a_token_file_that_is_none_is_refused_in_words(directory: Path, make: Callable[[Path], None]) -> None:
    path = directory / f"{application_key(APP)}.token"
    make(path)
    if not path.is_symlink():
        path.chmod(0o600)
    with pytest.raises(RuntimeDirectoryError, match=r"remove it"):
        generated_token(directory, APP)


@pytest.mark.parametrize("make", [JUNK[name] for name in ("fifo", "directory", "endless device", "300 MB")])
def test_a_key_file_that_is_none_lets_nobody_in_and_is_not_waited_for(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    from zmq.utils import z85

    authorized = tmp_path / "authorized"
    authorized.mkdir()
    make(authorized / "a.key")
    write_key_pair(tmp_path, "server")
    public, _ = write_key_pair(authorized, "client")
    keys = ServerKeys.load(str(tmp_path / "server.key_secret"), str(authorized))
    key = public.read_text().split('"')[1].encode()
    assert keys.is_authorized(z85.decode(key))
    assert not keys.is_authorized(b"\0" * 32)
