"""The one embedded server of a process: its start, its records, and its end after a fork."""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..errors import ConfigurationError, RbkitError, RuntimeDirectoryError, ServerStartError
from ..fleet import records
from ..options.table import Settings
from ..system.unpatched import original
from ..transport import LOCAL
from ..transport.binding import Binding
from ..transport.curve import ServerKeys
from .profiling import StartOptions
from .server import Server

__all__ = ["EmbeddedAddress", "current_server", "ensure_embedded", "start", "stop"]

log = logging.getLogger("rbkit_websocket")

# Seconds between two looks at the files of this process.
_LOOK_EVERY: Final = 1.0


@dataclass(frozen=True)
class EmbeddedAddress:
    """Address of this process's embedded server.

    Attributes:
        path: of its Unix socket.
        id: the server's identity, as in its record.
    """

    path: str
    id: str

    @property
    def endpoint(self) -> str:
        """The same as an endpoint: ``unix://<path>``."""
        return LOCAL + self.path


class _Process:
    """State of this process. A forked child gets a new one."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        # An original lock. No greenlet switches under it, or two greenlets of one thread would deadlock.
        self.lock = original("_thread", "allocate_lock")()
        self.server: Server | None = None
        # Settings of the start, and applications whose options have been compared with them.
        self.in_force = Settings()
        self.compared: list[Settings] = []
        # (runtime directory, application name) of each record, with the result of ensure_embedded(). The same by
        # (option, application name), which costs no look at the directory.
        self.records: dict[tuple[Path, str], EmbeddedAddress] = {}
        self.known: dict[tuple[str | None, str], tuple[Path, EmbeddedAddress]] = {}
        self.written: dict[tuple[Path, str], records.Record] = {}
        # Files to look after while the server runs: by the same key, the settings and a function that keeps others.
        self.kept: dict[tuple[str | None, str], tuple[Settings, Callable[[], None]]] = {}

    @property
    def running(self) -> Server | None:
        server = self.server
        return server if server is not None and server.running else None


_process = _Process()
_abandoned: list[_Process] = []  # of our ancestors: their ZeroMQ sockets must not even be finalized here


def _after_in_child() -> None:
    global _process
    old, _process = _process, _Process()
    if old.server is not None:
        _abandoned.append(old)
        old.server.after_in_child()


def _mine() -> _Process:
    """This process's own state, also after a fork that ran no hooks: none were registered, or C code forked."""
    if _process.pid != os.getpid():
        _after_in_child()
    return _process


def _at_exit() -> None:
    stop()


_hooks_installed = False


def _install_hooks() -> None:
    """Registers hooks with the first server, so that importing this package leaves nothing behind."""
    global _hooks_installed
    if not _hooks_installed:
        _hooks_installed = True
        os.register_at_fork(after_in_child=_after_in_child)
        atexit.register(_at_exit)


def current_server() -> Server | None:
    """The running embedded server of this process, or None."""
    return _mine().running


def ensure_embedded(settings: Settings, keep: Callable[[], None] = lambda: None) -> EmbeddedAddress:
    """The embedded server of this process, started if none runs, with a record for ``settings.name``.

    A server started here listens at a Unix socket in the runtime directory, and on loopback TCP if ``pub_port`` or
    ``req_port`` say so. One that runs already is used as it is (only a socket it lacks is added). Where its files
    have been removed (by a cleaner of temporary directories, say) it gets new ones within a second, and a new id. Cheap
    when there is nothing to do; safe from several threads and greenlets at once, and after a fork.

    Args:
        settings: of the application.
        keep: called every second in the server's thread, to look after other files of the directory; does not raise.

    Raises:
        ServerStartError: it cannot bind or start.
        RuntimeDirectoryError: the runtime directory cannot be trusted or used.
    """
    process = _mine()
    _compare(process, settings)
    key = (settings.runtime_dir, settings.name)
    if process.running is not None and (known := _intact(process, key)) is not None:
        return known
    _install_hooks()
    # Before the lock: it logs, and a handler's lock may switch greenlets.
    directory = records.runtime_directory(settings.runtime_dir)
    records.sweep(directory)
    with process.lock:
        server = process.running
        if server is None:
            _forget(process)
        if (known := _intact(process, key)) is not None:
            return known
        address = _renew(process, key, directory, settings)
        if not process.kept and process.server is not None:
            process.server.keep(_look_after(process))
        process.kept[key] = settings, keep
    if server is None and process.server is not None:
        _tell(process.server)
    return address


def _compare(process: _Process, settings: Settings) -> None:
    """Logs once for each application which of its options come too late for the running server."""
    if process.running is None or any(settings is known for known in process.compared):
        return
    process.compared.append(settings)
    ignored = settings.without_effect(process.in_force)
    if ignored:
        log.warning(
            "rbkit: %s: no effect, since the embedded server of this process runs already with other options. Give "
            "them where it is started: to the middleware that serves first, or to start_server()",
            ", ".join(ignored),
        )


def _renew(process: _Process, key: tuple[str | None, str], directory: Path, settings: Settings) -> EmbeddedAddress:
    server = process.running
    if server is not None and key in process.known:
        if (known := _listed_again(process, key, directory)) is not None:
            return known
        _disown(process, server)
    address = _record(process, server, directory, settings)
    process.known[key] = directory, address
    return address


def _listed_again(process: _Process, key: tuple[str | None, str], directory: Path) -> EmbeddedAddress | None:
    """The known address, with its record written anew if only that is missing: cleaners leave a socket in use."""
    there, address = process.known[key]
    if there != directory or not os.path.exists(address.path):
        return None
    try:
        process.written[directory, key[1]].write(directory)
    except OSError as error:
        raise RuntimeDirectoryError(str(directory), f"cannot be written ({error.strerror})") from error
    return address


def _look_after(process: _Process) -> Generator[float | None, None, None]:
    """Restores removed files, so that idle workers are found too; called in the server's thread."""
    while True:
        yield _LOOK_EVERY
        # Never waited for: the lock's holder may be waiting for this thread.
        if process.lock.acquire(False):
            try:
                for key, (settings, _) in process.kept.items():
                    if _intact(process, key) is None:
                        _renew(process, key, records.runtime_directory(settings.runtime_dir), settings)
            except (RbkitError, OSError):
                pass  # the directory cannot be used now; the next request for it gets the reason
            finally:
                process.lock.release()
        for _, keep in tuple(process.kept.values()):
            keep()


def _intact(process: _Process, key: tuple[str | None, str]) -> EmbeddedAddress | None:
    """The known address of a record whose files are all there."""
    directory, address = process.known.get(key, (None, None))
    if directory is None or address is None:
        return None
    return address if records.is_complete(directory, key[1], address.id, address.path) else None


def _disown(process: _Process, server: Server) -> None:
    """Forgets a record of which files are missing: the rest leads to no server. Its socket stays bound to the end."""
    for (directory, name), address in process.records.items():
        records.remove(directory, name, address.id)
    process.records.clear()
    process.known.clear()
    process.written.clear()
    server.forget_path(records.new_id())


def _record(process: _Process, server: Server | None, directory: Path, settings: Settings) -> EmbeddedAddress:
    """Binds, then writes the record: every listed server answers."""
    server_id = server.id if server is not None else records.new_id()
    path = server.path if server is not None else None
    address = EmbeddedAddress(path or records.socket_path(directory, settings.name, server_id), server_id)
    try:
        record = records.Record.of_this_process(server_id, settings.name, address.endpoint)
        if server is None:
            server = _new_server(
                settings,
                path=address.path,
                server_id=server_id,
                application=settings.title,
                runtime_dir=str(directory),
            )
            server.start()
            process.server, process.in_force = server, settings
            process.compared.append(settings)
        else:
            server.identity.serve_for(settings.title)
            if path is None:
                server.listen(address.path)
        # From here on _forget() removes the rest, and the socket of a record that could not be written.
        process.records[directory, settings.name] = address
        record.write(directory)
        process.written[directory, settings.name] = record
    except ServerStartError:
        records.remove(directory, settings.name, server_id)
        raise
    except ConfigurationError as error:
        raise ServerStartError(f"the embedded Rbkit server cannot start: {error}") from error
    except OSError as error:
        raise RuntimeDirectoryError(str(directory), f"cannot be written ({error.strerror})") from error
    return address


def start(settings: Settings, wishes: StartOptions | None) -> tuple[Server | None, str]:
    """Starts a server on the TCP ports of the settings, if none runs.

    Args:
        settings: of the server.
        wishes: profilers that are on from the start.

    Returns:
        The server, or None; and why it could not start, empty where one runs already.

    Raises:
        ConfigurationError: the ports cannot be bound as the settings say.
    """
    server = _new_server(settings, server_id=records.new_id(), options=wishes)
    process = _mine()
    _install_hooks()
    with process.lock:
        if process.running is not None:
            return None, ""
        _forget(process)
        try:
            server.start()
        except ServerStartError as error:
            return None, str(error)
        process.server, process.in_force = server, settings
    _tell(server)
    return server, ""


def _tell(server: Server) -> None:
    # Not under the lock, since a handler of logging may switch greenlets.
    log.info("rbkit: native sampler: %s", server.profiling.cpu.profiler.native)


def stop() -> bool:
    """Stops the server, if one runs, and returns whether there was one."""
    process = _mine()
    with process.lock:
        server = process.running
        if server is None:
            return False
        server.stop()
        _forget(process)
        return True


def _forget(process: _Process) -> None:
    """Removes the records and sockets of a server that has ended."""
    for (directory, name), address in process.records.items():
        records.remove(directory, name, address.id)
    process.records.clear()
    process.known.clear()
    process.written.clear()
    process.kept.clear()
    process.server = None


def _new_server(settings: Settings, **options: Any) -> Server:
    """The server that the settings describe. Keys are read now, sockets bound when it starts.

    Raises:
        ConfigurationError: the settings cannot work.
    """
    ports = settings.pub_port, settings.req_port
    # Not looked at where there are no ports: the same variables configure a gateway's side of the link.
    binding = settings.binding() if ports != (None, None) else Binding()
    pub, req = ([] if port is None else [binding.endpoint(port)] for port in ports)
    keys = None
    if binding.secret_key_file is not None and binding.authorized_keys_dir is not None:
        keys = ServerKeys.load(binding.secret_key_file, binding.authorized_keys_dir)
    return Server(
        pub,
        req,
        curve=keys,
        linger=settings.linger,
        snapshot_rate=settings.snapshot_rate,
        signum=settings.signal,
        blocked_log=settings.blocked_log,
        snapshot_fork=settings.snapshot_fork,
        snapshot_pause=settings.snapshot_pause,
        **options,
    )
