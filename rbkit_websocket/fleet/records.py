"""Records of the running servers: one file a server in the runtime directory, beside the application's token.

The directory is ``RBKIT_RUNTIME_DIR`` (or the ``runtime_dir`` option), else ``$XDG_RUNTIME_DIR/rbkit``, else
``rbkit-<uid>`` in the temporary directory. It belongs to the user, has mode 0700, and no symbolic link leads to it:
its files can be trusted. Files in it (``APP`` is a hash of the application's name):

========================  =============================================================================================
``APP.token``             the generated token, mode 0600
``APP-ID.json``           a server's record, see :class:`Record`
``APP-ID.sock``           its Unix socket
``APP-ID.tmp``            a record or token being written
========================  =============================================================================================

A record is stale when no process has its pid, or when the process that has it started at another time than the record
says (the pid was used again), or when it is of another boot. Each listing removes stale records and their sockets, and
files of a process that was killed before its record was written. A pid means nothing to a container that shares the
directory but has pids of its own: there a record is stale when no process listens at its socket.

All other files are skipped, and the log says so once: files that bear the name of a record but are none, and files
beyond the number that one listing reads. No file in the directory makes a listing wait, fail, or take long.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Final, NoReturn

from ..errors import RuntimeDirectoryError
from ..system.clock import time
from ..system.environment import variable
from ..system.plainfile import read_plain
from ..transport.wire import endpoint_path
from .liveness import boot_id, is_own_process, is_zombie, pid_namespace, process_start, socket_answers

__all__ = [
    "Record",
    "application_key",
    "find_record",
    "is_complete",
    "listing",
    "new_id",
    "remove",
    "runtime_directory",
    "socket_path",
    "sweep",
]

log = logging.getLogger(__name__)

# sockaddr_un.sun_path holds 108 bytes with the terminating NUL (unix(7)).
_SOCKET_PATH_MAX: Final = 107

_PID_MAX: Final = 2**31 - 1  # pid_t
# A record has some 500 bytes; names and paths may be longer than most.
_MAX_RECORD: Final = 32 * 1024
_MAX_TEXT: Final = 4096
# The most that one listing reads: it happens within a request, and reading a record takes some 0.1 ms.
_MOST_NAMES: Final = 20_000
_MOST_FILES: Final = 500
# Seconds that a file without a readable record may be in the making, by a process whose pid means nothing here.
_GRACE: Final = 2.0
_LEFT: Final = re.compile(r"[0-9a-f]{12}-([1-9][0-9]{0,8})-([0-9a-f]{8})\.(?:json|sock|tmp)")


@dataclass(frozen=True)
class Record:
    """The record that a server leaves for its siblings; the JSON file has exactly these keys.

    Attributes:
        id: ``<pid>-<8 hex digits>``, the value of ``server=`` on the URL.
        pid: the process.
        application: the name of the application.
        endpoint: ``unix://`` and the path of its socket.
        started: when the server started, seconds since the epoch.
        process_started: ties the pid to one process, see :func:`~rbkit_websocket.fleet.liveness.process_start`; None
            where the system does not tell.
        boot_id: the machine's boot that the process belongs to; None likewise.
        pid_namespace: in which the pid has its meaning; None likewise.
        version: of this schema.
    """

    id: str
    pid: int
    application: str
    endpoint: str
    started: float
    process_started: int | None
    boot_id: str | None
    pid_namespace: str | None
    version: int = 2

    @classmethod
    def of_this_process(cls, server_id: str, application: str, endpoint: str) -> Record:
        """The record of a server that starts now, in this process."""
        return cls(
            id=server_id,
            pid=os.getpid(),
            application=application,
            endpoint=endpoint,
            started=time.time(),
            process_started=process_start(os.getpid()),
            boot_id=boot_id(),
            pid_namespace=pid_namespace(),
        )

    @property
    def alive(self) -> bool:
        """Whether the process that wrote this record still runs; True where this process has no descriptor to look."""
        try:
            if self.boot_id != boot_id():
                return False
            if self.pid_namespace != pid_namespace():
                return socket_answers(endpoint_path(self.endpoint) or "")
            return is_own_process(self.pid) and process_start(self.pid) == self.process_started
        except OSError:
            return True

    def write(self, directory: Path) -> Path:
        """Writes the record into ``directory`` in one step, so that no process reads half of it."""
        path = directory / f"{application_key(self.application)}-{self.id}.json"
        draft = path.with_suffix(".tmp")
        draft.write_text(json.dumps(asdict(self), indent=1))
        draft.rename(path)
        return path


def application_key(name: str) -> str:
    """The hash of an application's name that its files bear."""
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:12]


def new_id() -> str:
    """An identity for a server of this process, never used before."""
    return f"{os.getpid()}-{secrets.token_hex(4)}"


def runtime_directory(configured: str | None = None) -> Path:
    """The runtime directory, made when it is missing.

    Raises:
        RuntimeDirectoryError: it cannot be made, is a symbolic link or no directory, belongs to another user or is
            open to others. Nothing is changed then: the owner decides.
    """
    path = Path(configured) if configured else _default_directory()
    try:
        # One by one: mkdir(parents=True) makes parents with the umask's mode, which others may enter.
        for missing in reversed([part for part in (path, *path.parents) if not part.exists()]):
            missing.mkdir(mode=0o700, exist_ok=True)
        facts = path.lstat()
    except OSError as error:
        raise RuntimeDirectoryError(
            str(path), f"cannot be used ({error.strerror}); set RBKIT_RUNTIME_DIR to a directory this user can write"
        ) from error
    if not stat.S_ISDIR(facts.st_mode):
        raise RuntimeDirectoryError(
            str(path), "is no directory (a symbolic link is none either); set RBKIT_RUNTIME_DIR"
        )
    if facts.st_uid != os.geteuid():
        raise RuntimeDirectoryError(
            str(path),
            f"belongs to uid {facts.st_uid}, not {os.geteuid()}; set RBKIT_RUNTIME_DIR to a directory of your own",
        )
    if facts.st_mode & 0o077:
        raise RuntimeDirectoryError(str(path), f"is open to others (mode {facts.st_mode & 0o777:o}); chmod 700 {path}")
    if not _is_safe_parent(path.parent):
        raise RuntimeDirectoryError(
            str(path),
            f"lies in {path.parent}, where anybody may rename it and put another in its place; "
            f"chmod o-w {path.parent} (or +t), or set RBKIT_RUNTIME_DIR",
        )
    if not os.access(path, os.W_OK | os.X_OK):
        raise RuntimeDirectoryError(str(path), "is read-only; set RBKIT_RUNTIME_DIR to a directory this user can write")
    return path


def _is_safe_parent(path: Path) -> bool:
    mode = path.stat().st_mode
    return not mode & stat.S_IWOTH or bool(mode & stat.S_ISVTX)


def _default_directory() -> Path:
    if configured := variable("RBKIT_RUNTIME_DIR"):
        return Path(configured)
    # Under sudo, and in a worker that has dropped its privileges, the variable still names another user's directory.
    xdg = variable("XDG_RUNTIME_DIR")
    if xdg and _is_own(xdg):
        return Path(xdg) / "rbkit"
    return Path(tempfile.gettempdir()) / f"rbkit-{os.geteuid()}"


def _is_own(path: str) -> bool:
    try:
        return os.stat(path).st_uid == os.geteuid()
    except OSError:
        return False


def socket_path(directory: Path, application: str, server_id: str) -> str:
    """Path of a server's Unix socket.

    Raises:
        RuntimeDirectoryError: it is longer than a Unix socket's may be.
    """
    path = os.fsencode(directory / f"{application_key(application)}-{server_id}.sock")
    if len(path) > _SOCKET_PATH_MAX:
        raise RuntimeDirectoryError(
            str(directory),
            f"is too long for a Unix socket ({len(path)} bytes with the file's name, {_SOCKET_PATH_MAX} fit); "
            "set RBKIT_RUNTIME_DIR to a shorter path",
        )
    return os.fsdecode(path)


def listing(directory: Path, application: str) -> list[Record]:
    """The living servers of an application, oldest first. Files of dead servers are removed on the way.

    Raises:
        RuntimeDirectoryError: the directory cannot be read.
    """
    try:
        living = list(_living(directory, f"{application_key(application)}-"))
    except OSError as error:
        raise RuntimeDirectoryError(str(directory), f"cannot be read ({error.strerror})") from error
    return sorted(living, key=lambda record: (record.started, record.id))


def sweep(directory: Path) -> None:
    """Removes files of dead servers of any application: command lines change, and default names with them."""
    try:
        for _ in _living(directory, ""):
            pass
    except OSError:
        pass  # the next listing does it


def _living(directory: Path, prefix: str) -> Iterator[Record]:
    for path, pid, server_id in _candidates(directory, prefix):
        record = _read_record(path, server_id) if path.suffix == ".json" else None
        if record is None:
            # A server's sockets are there before its record is; and a record that we cannot read may be of another
            # version, whose server lives.
            if (not is_own_process(pid) or is_zombie(pid)) and _is_abandoned(path):
                _remove([path])
            if path.suffix == ".json" and path.exists():
                _say(path, "is no record of a server that this version can read, and is passed over")
        elif record.alive:
            yield record
        else:
            # All at once: should another process have the pid by now, only the record tells.
            _remove(_files(path))


def _candidates(directory: Path, prefix: str) -> Iterator[tuple[Path, int, str]]:
    """Path, pid and server's id of the servers' files, as many as one listing reads."""
    here: list[tuple[bool, bool, str, int, str]] = []
    gone: list[tuple[bool, bool, str, int, str]] = []
    try:
        with os.scandir(directory) as entries:
            names = [entry.name for entry in islice(entries, _MOST_NAMES + 1)]
    except FileNotFoundError:
        return
    if len(names) > _MOST_NAMES:
        _say(directory, f"holds more than {_MOST_NAMES} files; the rest are passed over, remove what is not needed")
    for name in names:
        if name.startswith(prefix) and (found := _LEFT.fullmatch(name)) is not None:
            pid = int(found[1])
            # Records first, this process's before all others: the rest may be cut off.
            file = (pid != os.getpid(), not name.endswith(".json"), name, pid, f"{pid}-{found[2]}")
            (here if is_own_process(pid) else gone).append(file)
    if sum(not is_other for _, is_other, *_ in here) > _MOST_FILES:
        _say(directory, f"holds more than {_MOST_FILES} records; the rest are passed over, remove what is not needed")
    # Each by itself: files of the dead must not hide the living, and a removed file makes room for another.
    for group in (here, gone):
        for _, _, name, pid, server_id in sorted(group)[:_MOST_FILES]:
            yield directory / name, pid, server_id


_said: set[tuple[Path, str]] = set()


def _say(path: Path, words: str) -> None:
    """Logs once, however many listings there are."""
    if (path, words) not in _said and len(_said) < _MOST_FILES:
        _said.add((path, words))
        log.warning("rbkit: %s %s", path, words)


def _is_abandoned(path: Path) -> bool:
    """Whether no server has this file, whose pid is no process here: it may be one of another pid namespace."""
    try:
        if time.time() - path.lstat().st_mtime < _GRACE:
            return False
    except OSError:
        return False  # gone
    if path.suffix in (".json", ".tmp"):
        # A record of another version: its sockets tell. A draft that is too old.
        return path.suffix == ".tmp" or not socket_answers(str(path.with_suffix(".sock")))
    return not socket_answers(str(path))


def _read_record(path: Path, server_id: str) -> Record | None:
    """The record in a file that says it is of ``server_id``; None when it is gone or makes no sense."""
    try:
        facts = json.loads(read_plain(path, _MAX_RECORD)[0], parse_constant=_no_number)
        record = Record(**{field.name: facts[field.name] for field in fields(Record)})
        sound = record.id == server_id and _is_sound(record)
        return record if sound and path.name.startswith(f"{application_key(record.application)}-") else None
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return None


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


def _is_sound(record: Record) -> bool:
    """Whether all values have the types and sizes that a server writes.

    Raises:
        ValueError: an endpoint cannot be encoded.
    """
    numbers = (record.pid, record.started, *([] if record.process_started is None else [record.process_started]))
    texts = (record.application, record.endpoint)
    optional = (record.boot_id, record.pid_namespace)
    return (
        all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in numbers)
        and isinstance(record.pid, int)
        and isinstance(record.process_started, (int, type(None)))
        and 0 < record.pid <= _PID_MAX
        and 0 <= record.started < 2**53  # neither NaN nor infinity, and what a browser reads as it is
        and all(isinstance(value, str) and len(value) <= _MAX_TEXT for value in texts)
        and all(value is None or isinstance(value, str) for value in optional)
        and endpoint_path(record.endpoint) is not None
        and b"\0" not in os.fsencode(record.endpoint)
    )


def find_record(directory: Path, application: str, server_id: str) -> Record | None:
    """The living server of that id, or None."""
    name = f"{application_key(application)}-{server_id}.json"
    record = _read_record(directory / name, server_id) if _LEFT.fullmatch(name) else None
    return record if record is not None and record.alive else None


def is_complete(directory: Path, application: str, server_id: str, path: str) -> bool:
    """Whether a server's record and its socket are there."""
    record = directory / f"{application_key(application)}-{server_id}.json"
    return record.exists() and os.path.exists(path)


def remove(directory: Path, application: str, server_id: str) -> None:
    """Removes a server's record and sockets, if they are still there."""
    _remove(_files(directory / f"{application_key(application)}-{server_id}.json"))


def _files(record: Path) -> list[Path]:
    return [record.with_suffix(suffix) for suffix in (".json", ".sock", ".tmp")]


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError:
            pass  # no file of ours, a directory say: it stays
