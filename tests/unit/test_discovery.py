"""The runtime directory, records and the shared token: nothing is trusted that others could have written."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.waiting import scaled

from rbkit_websocket.errors import RuntimeDirectoryError
from rbkit_websocket.fleet import liveness, records
from rbkit_websocket.fleet.records import Record, application_key, find_record, listing, runtime_directory
from rbkit_websocket.fleet.tokenfile import generated_token

APP = "shop"


@pytest.fixture
def directory(runtime_dir: Path) -> Path:
    return runtime_directory(str(runtime_dir))


def record(directory: Path, **changes: object) -> Record:
    server_id = records.new_id()
    facts = {
        "id": server_id,
        "pid": os.getpid(),
        "application": APP,
        "endpoint": f"unix://{records.socket_path(directory, APP, server_id)}",
        "started": time.time(),
        "process_started": liveness.process_start(os.getpid()),
        "boot_id": liveness.boot_id(),
        "pid_namespace": liveness.pid_namespace(),
        **changes,
    }
    return Record(**facts)  # type: ignore[arg-type]


def path_of(entry: Record) -> str:
    return entry.endpoint.removeprefix("unix://")


def sockets_of(directory: Path, entry: Record) -> list[Path]:
    """The file that stands for a server's socket, made now."""
    paths = [Path(path_of(entry))]
    for path in paths:
        path.touch()
    return paths


def age(path: Path) -> None:
    """Makes a file old enough not to be one in the making."""
    os.utime(path, (time.time() - 10, time.time() - 10))


def ended_process() -> int:
    """Pid of a process that is gone."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


# The directory


def test_the_directory_is_made_private(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    old = os.umask(0)
    try:
        assert runtime_directory(str(path)) == path
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert runtime_directory(str(path)) == path


@pytest.mark.parametrize("mode", [0o701, 0o710, 0o750, 0o704, 0o777, 0o1777])
def test_a_directory_open_to_others_is_refused_and_left_alone(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "open"
    path.mkdir()
    path.chmod(mode)
    with pytest.raises(RuntimeDirectoryError, match="open to others"):
        runtime_directory(str(path))
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_symbolic_link_is_refused_even_to_a_good_directory(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(RuntimeDirectoryError, match="symbolic link"):
        runtime_directory(str(tmp_path / "link"))


def test_a_trailing_slash_does_not_lead_through_the_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(RuntimeDirectoryError):
        runtime_directory(f"{tmp_path}/link/")


@pytest.mark.parametrize("target", ["nowhere", "file"])
def test_what_is_no_directory_is_refused(tmp_path: Path, target: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / target)
    for path in (tmp_path / "link", tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(RuntimeDirectoryError):
            runtime_directory(str(path))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_foreign_directory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "foreign"
    path.mkdir(mode=0o700)
    os.chown(path, 12345, -1)
    with pytest.raises(RuntimeDirectoryError, match="belongs to uid 12345"):
        runtime_directory(str(path))


def test_where_the_directory_is_by_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(records.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    assert runtime_directory() == tmp_path / f"rbkit-{os.geteuid()}"
    (tmp_path / "xdg").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "xdg"))
    assert runtime_directory() == tmp_path / "xdg" / "rbkit"
    monkeypatch.setenv("RBKIT_RUNTIME_DIR", str(tmp_path / "own"))
    assert runtime_directory() == tmp_path / "own"
    assert runtime_directory(str(tmp_path / "given")) == tmp_path / "given"


def test_a_runtime_directory_of_somebody_else_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(records.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "not there"))
    assert runtime_directory() == tmp_path / f"rbkit-{os.geteuid()}"
    foreign = tmp_path / "xdg"
    foreign.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(foreign))
    real = os.geteuid()
    monkeypatch.setattr(records.os, "geteuid", lambda: real + 1)
    assert records._default_directory() == tmp_path / f"rbkit-{real + 1}"


def test_a_path_too_long_for_a_socket_is_refused_with_advice() -> None:
    longest = Path("/" + "x" * 60)
    room = 107 - len(records.socket_path(longest, APP, "1-12345678"))
    fits = Path("/" + "x" * (60 + room))
    assert len(records.socket_path(fits, APP, "1-12345678")) == 107
    with pytest.raises(RuntimeDirectoryError, match=r"108 bytes.*RBKIT_RUNTIME_DIR"):
        records.socket_path(Path(f"{fits}y"), APP, "1-12345678")


def test_a_path_is_measured_in_bytes() -> None:
    with pytest.raises(RuntimeDirectoryError, match="too long"):
        records.socket_path(Path("/" + "ä" * 40), APP, "1-12345678")


def test_the_longest_path_can_be_bound(directory: Path) -> None:
    deep = directory / ("x" * (107 - len(os.fsencode(directory)) - 2 - len(f"{application_key(APP)}-1-12345678.sock")))
    deep.mkdir(mode=0o700)
    path = records.socket_path(deep, APP, "1-12345678")
    assert len(path) == 107
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)


# Records


@pytest.mark.smoke
def test_a_record_is_listed_and_found(directory: Path) -> None:
    entry = record(directory)
    path = entry.write(directory)
    assert listing(directory, APP) == [entry]
    assert find_record(directory, APP, entry.id) == entry
    assert find_record(directory, APP, "1-00000000") is None
    assert set(json.loads(path.read_text())) == {field.name for field in dataclasses.fields(Record)}
    records.remove(directory, APP, entry.id)
    records.remove(directory, APP, entry.id)
    assert list(directory.iterdir()) == []


def test_identities_are_never_used_twice() -> None:
    assert len({records.new_id() for _ in range(1000)}) == 1000
    assert records.new_id().startswith(f"{os.getpid()}-")


def test_records_are_listed_oldest_first(directory: Path) -> None:
    entries = [record(directory, started=float(started)) for started in (3, 1, 2)]
    for entry in entries:
        entry.write(directory)
    assert [entry.started for entry in listing(directory, APP)] == [1, 2, 3]


def test_applications_do_not_see_each_other(directory: Path) -> None:
    entry = record(directory)
    entry.write(directory)
    for other in ("shop-2", "sho", "", "*", "../shop", "sh\udcffop"):
        assert listing(directory, other) == []
        assert find_record(directory, other, entry.id) is None


def test_records_of_the_dead_vanish_with_their_sockets(directory: Path) -> None:
    living = record(directory)
    living.write(directory)
    dead = record(directory, pid=ended_process())
    dead.write(directory)
    paths = sockets_of(directory, dead)
    assert listing(directory, APP) == [living]
    assert not any(path.exists() for path in paths)
    assert len(list(directory.iterdir())) == 1


def test_a_pid_that_is_used_again_is_another_process(directory: Path) -> None:
    stale = record(directory, process_started=liveness.process_start(os.getpid()) - 1)  # type: ignore[operator]
    stale.write(directory)
    assert not stale.alive
    assert listing(directory, APP) == []
    assert list(directory.iterdir()) == []


def test_a_zombie_is_dead(directory: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    entry = record(directory, pid=process.pid, process_started=liveness.process_start(process.pid))
    assert entry.alive
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not entry.alive
    process.stdin.close()
    process.wait()


def test_a_process_whose_name_holds_parentheses(directory: Path) -> None:
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import ctypes; ctypes.CDLL(None).prctl(15, b') Z 1 ('); print(flush=True); input()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    process.stdout.readline()
    started = liveness.process_start(process.pid)
    assert started is not None
    assert started >= liveness.process_start(os.getpid())  # type: ignore[operator]
    process.communicate(b"\n")
    assert liveness.process_start(process.pid) is None


FOREIGN = {
    "no JSON": "}{",
    "empty": "",
    "a list": "[]",
    "no keys": "{}",
    "unknown key": '{"id": "1-1", "color": "red"}',
    "not UTF-8": b"\xff\xfe",
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_a_record_that_cannot_be_read_hides_no_other(directory: Path, content: str | bytes) -> None:
    entry = record(directory)
    entry.write(directory)
    data = content if isinstance(content, bytes) else content.encode()
    (directory / f"{application_key(APP)}-1-00000000.json").write_bytes(data)
    assert listing(directory, APP) == [entry]


def test_a_record_of_a_later_version_is_read(directory: Path) -> None:
    entry = record(directory, version=2)
    path = entry.write(directory)
    path.write_text(json.dumps({**dataclasses.asdict(entry), "color": "red"}))
    assert listing(directory, APP) == [entry]


def test_an_unreadable_record_goes_with_its_process(directory: Path) -> None:
    own = directory / f"{application_key(APP)}-{os.getpid()}-00000000.json"
    other = directory / f"{application_key(APP)}-{ended_process()}-00000000.json"
    for path in (own, other):
        path.write_text("{}")
        age(path)
    assert listing(directory, APP) == []
    assert (own.exists(), other.exists()) == (True, False)


@pytest.mark.parametrize(
    "changes",
    [
        {"pid": "many"},
        {"pid": None},
        {"pid": 10**30},
        {"pid": 0},
        {"pid": -1},
        {"started": "yesterday"},
        {"started": None},
        {"id": 5},
        {"id": "../../x"},
        {"endpoint": 7},
    ],
    ids=str,
)
def test_a_record_with_values_of_other_kinds_hides_no_other(directory: Path, changes: dict[str, object]) -> None:
    entry = record(directory)
    entry.write(directory)
    facts = {**dataclasses.asdict(record(directory)), **changes}
    (directory / f"{application_key(APP)}-1-00000000.json").write_text(json.dumps(facts))
    assert listing(directory, APP) == [entry]


def test_a_record_is_never_read_half_written(directory: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from rbkit_websocket.fleet.records import Record\n"
        "import os\n"
        "d = Path(sys.argv[1]); n = 0\n"
        "print(flush=True)\n"
        "while os.getppid() == int(sys.argv[2]):\n"
        "    Record.of_this_process('1-11111111', 'shop', 'unix://' + 'x' * (n % 3000)).write(d); n += 1\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(directory), str(os.getpid())], stdout=subprocess.PIPE
    ) as writer:
        writer.stdout.readline()
        while not listing(directory, APP):
            assert writer.poll() is None
        try:
            assert all(len(listing(directory, APP)) == 1 for _ in range(500))
        finally:
            writer.kill()


def test_what_a_server_left_that_died_before_its_record_vanishes(directory: Path) -> None:
    dead, key = ended_process(), application_key(APP)
    left = [directory / f"{key}-{dead}-0123abcd.{suffix}" for suffix in ("sock", "tmp")]
    for path in left:
        path.touch()
        age(path)
    own = directory / f"{key}-{os.getpid()}-0123abcd.sock"
    own.touch()
    assert listing(directory, APP) == []
    assert [path.name for path in left if path.exists()] == []
    assert own.exists(), "the socket of a living process that has not written its record yet"


# The token


def test_a_token_is_made_once_and_kept(directory: Path) -> None:
    token, path, created = generated_token(directory, APP)
    assert created
    assert len(token) >= 24
    assert path.read_text() == token
    assert generated_token(directory, APP) == (token, path, False)
    assert generated_token(directory, "other")[0] != token
    files = sorted(directory.iterdir())
    assert len(files) == 2
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files)


def test_a_token_that_is_held_is_put_back_and_gives_way_to_one_that_is_there(directory: Path) -> None:
    token, path, _ = generated_token(directory, APP)
    assert generated_token(directory, APP, token) == (token, path, False)
    path.unlink()
    assert generated_token(directory, APP, token) == (token, path, True)
    assert path.read_text() == token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert generated_token(directory, APP, "another-that-is-held") == (token, path, False)
    assert len(list(directory.iterdir())) == 1


def test_workers_that_race_get_one_token_and_one_makes_it(directory: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from rbkit_websocket.fleet.tokenfile import generated_token\n"
        "print(flush=True); input()\n"
        "print(*generated_token(Path(sys.argv[1]), 'shop'))\n"
    )
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(6)
    ]
    for worker in workers:
        worker.stdout.readline()
    for worker in workers:
        worker.stdin.write("\n")
        worker.stdin.flush()
    answers = [worker.communicate()[0].split() for worker in workers]
    assert len({token for token, _, _ in answers}) == 1
    assert [created for _, _, created in answers].count("True") == 1
    assert len(list(directory.iterdir())) == 1


@pytest.mark.parametrize("mode", [0o644, 0o620, 0o604])
def test_a_token_file_open_to_others_is_refused(directory: Path, mode: int) -> None:
    generated_token(directory, APP)
    path = directory / f"{application_key(APP)}.token"
    path.chmod(mode)
    with pytest.raises(RuntimeDirectoryError, match="mode 600"):
        generated_token(directory, APP)


@pytest.mark.parametrize("content", [b"", b"short", b" \n", b"\xff" * 30])
def test_a_token_file_without_a_token_is_refused(directory: Path, content: bytes) -> None:
    generated_token(directory, APP)
    (directory / f"{application_key(APP)}.token").write_bytes(content)
    with pytest.raises(RuntimeDirectoryError, match="holds no token"):
        generated_token(directory, APP)


def test_a_token_file_that_is_a_fifo_is_refused_at_once(directory: Path) -> None:
    os.mkfifo(directory / f"{application_key(APP)}.token", 0o600)
    with pytest.raises(RuntimeDirectoryError):
        generated_token(directory, APP)


def test_a_token_file_that_is_a_symbolic_link_is_refused(directory: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "token"
    elsewhere.write_text("x" * 30)
    elsewhere.chmod(0o600)
    (directory / f"{application_key(APP)}.token").symlink_to(elsewhere)
    with pytest.raises(RuntimeDirectoryError):
        generated_token(directory, APP)
    assert len(list(directory.iterdir())) == 1


def test_what_dead_servers_of_any_application_left_is_swept(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left = [f"0123456789ab-{ended.pid}-{'0' * 8}.{suffix}" for suffix in ("json", "sock", "tmp")]
    kept = ["0123456789ab.token", "notes.txt", f"0123456789ab-{os.getpid()}-{'0' * 8}.sock"]
    for name in left + kept:
        (tmp_path / name).touch()
        age(tmp_path / name)
    records.sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


def test_the_sockets_of_a_pid_used_again_are_swept_with_its_record(tmp_path: Path) -> None:
    here = Record.of_this_process(f"{os.getpid()}-00000000", APP, "unix:///p")
    here = dataclasses.replace(here, process_started=1)
    path = here.write(tmp_path)
    path.with_suffix(".sock").touch()
    assert not here.alive
    records.sweep(tmp_path)
    # Whatever order they are met in: with the record gone nothing tells that the sockets are not this process's.
    assert list(tmp_path.iterdir()) == []


# What the pid does not tell


def elsewhere(directory: Path, pid: int, **changes: object) -> Record:
    """A record of a container that has pids of its own."""
    server_id = f"{pid}-0123abcd"
    return record(
        directory,
        id=server_id,
        pid=pid,
        pid_namespace="pid:[1]",
        endpoint=f"unix://{records.socket_path(directory, APP, server_id)}",
        **changes,
    )


def test_a_server_of_another_pid_namespace_lives_while_its_socket_answers(directory: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        entry = elsewhere(directory, ended_process())
        listener.bind(path_of(entry))
        listener.listen(0)
        for path in (entry.write(directory), Path(path_of(entry))):
            age(path)
        assert listing(directory, APP) == [entry]
        records.sweep(directory)
        assert len(list(directory.iterdir())) == 2
        # However busy it is: nobody accepts here, so its backlog is full by now.
        with socket.socket(socket.AF_UNIX) as waiting:
            waiting.setblocking(False)
            waiting.connect_ex(path_of(entry))
            assert listing(directory, APP) == [entry]
    assert listing(directory, APP) == []
    assert list(directory.iterdir()) == []


def test_what_another_pid_namespace_has_in_the_making_is_left_alone(directory: Path) -> None:
    pid = ended_process()
    key = application_key(APP)
    for suffix in ("tmp", "sock"):
        (directory / f"{key}-{pid}-0123abcd.{suffix}").touch()
    records.sweep(directory)
    assert len(list(directory.iterdir())) == 2
    for path in directory.iterdir():
        age(path)
    records.sweep(directory)
    assert list(directory.iterdir()) == []


def test_a_record_of_another_boot_is_stale_even_with_a_living_pid(directory: Path) -> None:
    entry = record(directory, boot_id="00000000-0000-0000-0000-000000000000")
    entry.write(directory)
    assert not entry.alive
    assert listing(directory, APP) == []
    assert list(directory.iterdir()) == []


def test_a_system_without_proc_judges_by_the_pid(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("boot_id", "pid_namespace"):
        monkeypatch.setattr(records, name, lambda: None)
    monkeypatch.setattr(records, "process_start", lambda _pid: None)
    entry = Record.of_this_process(f"{os.getpid()}-00000000", APP, "unix:///p")
    assert (entry.process_started, entry.boot_id, entry.pid_namespace) == (None, None, None)
    assert entry.alive
    assert not dataclasses.replace(entry, pid=ended_process()).alive


def test_a_directory_that_others_may_replace_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "open" / "rbkit"
    path.mkdir(parents=True, mode=0o700)
    path.chmod(0o700)
    path.parent.chmod(0o777)
    with pytest.raises(RuntimeDirectoryError, match=r"put another in its place; chmod o-w"):
        runtime_directory(str(path))
    path.parent.chmod(0o1777)
    assert runtime_directory(str(path)) == path


# Several users of one machine


NOBODY = 65534

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def as_nobody(code: str, *arguments: object, **env: str) -> str:
    """What a program that runs as the user nobody prints."""
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
        timeout=scaled(30),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


ROOT = Path(records.__file__).parents[1]

# Everything is imported before the user changes: the interpreter may be in a place that is closed to nobody.
PRELUDE = f"""
import os, socket, sys
from collections.abc import Iterator
from pathlib import Path
from rbkit_websocket.fleet.records import *
from rbkit_websocket.errors import RuntimeDirectoryError
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
def attempt(action):
    try:
        print(action())
    except (RuntimeDirectoryError, OSError) as error:
        print(type(error).__name__, error)
"""


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory that everybody may write to, as ``/tmp`` is."""
    path = Path(tempfile.mkdtemp(prefix="rbu", dir="/tmp"))
    path.chmod(0o1777)
    yield path
    shutil.rmtree(path)


@needs_root
def test_another_user_neither_sees_nor_reaches_a_server(shared: Path) -> None:
    directory = runtime_directory(str(shared / "rbkit-0"))
    entry = record(directory)
    path = entry.write(directory)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path_of(entry))
        # The directory's mode is what keeps others out: the socket itself is open to everybody here.
        os.chmod(path_of(entry), 0o777)
        listener.listen()
        told = as_nobody(
            "directory, record, req = sys.argv[1:]\n"
            "attempt(lambda: os.listdir(directory))\n"
            "attempt(lambda: open(record).read())\n"
            "attempt(lambda: socket.socket(socket.AF_UNIX).connect(req))\n"
            "attempt(lambda: os.rename(directory, directory + '-mine'))\n"
            "attempt(lambda: runtime_directory(directory))\n",
            directory,
            path,
            path_of(entry),
        ).splitlines()
    assert [line.split()[0] for line in told] == ["PermissionError"] * 4 + ["RuntimeDirectoryError"]
    assert "belongs to uid 0, not 65534" in told[-1]


@needs_root
@pytest.mark.parametrize(
    ("prepare", "problem"),
    [
        ("os.mkdir(path, 0o700)", "belongs to uid 65534, not 0"),
        ("os.mkdir(path); os.chmod(path, 0o777)", "belongs to uid 65534, not 0"),
        ("os.symlink(os.path.dirname(path), path)", "symbolic link"),
        ("open(path, 'w').close()", "is no directory|cannot be used"),
    ],
)
def test_a_path_that_another_user_has_made_first_is_refused(shared: Path, prepare: str, problem: str) -> None:
    path = shared / "rbkit-0"
    as_nobody(f"path = sys.argv[1]\n{prepare}\n", path)
    with pytest.raises(RuntimeDirectoryError, match=problem) as caught:
        runtime_directory(str(path))
    assert "RBKIT_RUNTIME_DIR" in str(caught.value)


@needs_root
def test_each_user_has_a_directory_of_their_own(shared: Path) -> None:
    mine = as_nobody("print(runtime_directory())", TMPDIR=str(shared))
    assert mine == f"{shared}/rbkit-{NOBODY}"
    assert stat.S_IMODE(os.stat(mine).st_mode) == 0o700


@needs_root
def test_a_directory_that_cannot_be_written_is_named_with_what_to_do(shared: Path) -> None:
    (shared / "closed").mkdir(mode=0o755)
    own = shared / "own"
    own.mkdir(mode=0o500)
    os.chown(own, NOBODY, NOBODY)
    told = as_nobody(
        "for path in sys.argv[1:]:\n    attempt(lambda: runtime_directory(path))\n", shared / "closed" / "x", own
    ).splitlines()
    assert "cannot be used (Permission denied); set RBKIT_RUNTIME_DIR to a directory this user can write" in told[0]
    assert "is read-only; set RBKIT_RUNTIME_DIR to a directory this user can write" in told[1]
