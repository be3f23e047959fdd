"""The one embedded server of a process: Rbkit's API of three calls, and what the middleware asks for."""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import EllipsisType
from typing import TYPE_CHECKING, Any, Final, Literal

from ..errors import ConfigurationError, RbkitError, RuntimeDirectoryError, ServerStartError
from ..fleet import records
from ..options.table import ServerOptions, Settings, Taker
from ..options.values import check_port
from ..protocol.commands import INTERVAL_RANGE
from ..protocol.constants import DEFAULT_CPU_INTERVAL_USEC, DEFAULT_PUB_PORT, DEFAULT_REQ_PORT
from ..system.stderr import say
from ..system.unpatched import original
from ..transport import LOCAL
from ..transport.binding import Binding
from ..transport.curve import ServerKeys
from .profiling import StartOptions
from .server import Server

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["EmbeddedAddress", "current_server", "ensure_embedded", "start_profiling", "start_server", "stop_server"]

log = logging.getLogger("rbkit_websocket")

CANNOT_START: Final = (
    "Rbkit server couldn't bind to socket, check if it is already running. Profiling data will not be available."
)
# Seconds between two looks at the files of this process.
_LOOK_EVERY: Final = 1.0
CANNOT_STOP: Final = "Cannot stop Rbkit server. Is it running?"

Port = int | None | EllipsisType


@dataclass(frozen=True)
class EmbeddedAddress:
    """Where the embedded server of this process is reached.

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
    """What this process runs. A forked child gets a new one."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        # An original lock. Nothing that switches greenlets happens under it, or two of one thread would block it.
        self.lock = original("_thread", "allocate_lock")()
        self.server: Server | None = None
        # What it was started with, and whose options have been compared with that.
        self.in_force = Settings()
        self.compared: list[Settings] = []
        # (runtime directory, application name) of each record, with what ensure_embedded() answers for it. The same by
        # (option, application name), which costs no look at the directory.
        self.records: dict[tuple[Path, str], EmbeddedAddress] = {}
        self.known: dict[tuple[str | None, str], tuple[Path, EmbeddedAddress]] = {}
        self.written: dict[tuple[Path, str], records.Record] = {}
        # What is looked after as long as the server runs: by the same, the settings and what else is to be kept.
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
    """This process's own state; after a fork too that ran no hooks, because none were there or it was not Python's."""
    if _process.pid != os.getpid():
        _after_in_child()
    return _process


def _at_exit() -> None:
    _stop()


_hooks_installed = False


def _install_hooks() -> None:
    """With the first server, so that importing this package leaves nothing behind."""
    global _hooks_installed
    if not _hooks_installed:
        _hooks_installed = True
        os.register_at_fork(after_in_child=_after_in_child)
        atexit.register(_at_exit)


def current_server() -> Server | None:
    """The running embedded server of this process, or None."""
    return _mine().running


def start_server(
    pub_port: Port = ..., request_port: Port = ..., **options: Unpack[ServerOptions]
) -> Server | Literal[False]:
    """Starts the embedded server on TCP ports, without profiling anything yet.

    Args:
        pub_port: port of the published data, 1024 to 65000; default ``RBKIT_PUB_PORT`` or 5555; None: no such socket.
        request_port: port of the commands; default ``RBKIT_REQ_PORT`` or 5556; None: no such socket.
        options: of the embedded server, as docs/options.rst has them; what is left out comes from the environment.

    Returns:
        The server; False, with a line on stderr, when one runs already or a port cannot be bound.

    Raises:
        ConfigurationError: a port that is none ("Invalid port value"), or an option that cannot work.
        TypeError: an option that the embedded server does not have.
    """
    return _start(pub_port, request_port, None, options)


def start_profiling(
    pub_port: Port = ...,
    request_port: Port = ...,
    enable_object_trace: bool = True,
    enable_gc_stats: bool = True,
    enable_cpu_profiling: bool = True,
    clock_type: Literal["wall", "cpu"] = "wall",
    cpu_profiling_mode: Literal["sampling"] = "sampling",
    cpu_sampling_interval_usec: int = DEFAULT_CPU_INTERVAL_USEC,
    **options: Unpack[ServerOptions],
) -> Server | Literal[False]:
    """Starts the embedded server as :func:`start_server` does, with profilers that stay on whoever listens.

    Args:
        pub_port, request_port: as for :func:`start_server`.
        enable_object_trace: object created and destroyed, collection begins and ends.
        enable_gc_stats: ``gc_stats`` every 5 s.
        enable_cpu_profiling: CPU samples.
        clock_type: what weighs a sample, ``"wall"`` or ``"cpu"`` time.
        cpu_profiling_mode: ``"sampling"``, the only one.
        cpu_sampling_interval_usec: what a published sample is worth, in microseconds.
        options: as for :func:`start_server`.

    Returns:
        The server; False, with a line on stderr, when one runs already or a port cannot be bound.

    Raises:
        ConfigurationError: an argument that cannot work.
    """
    if clock_type not in ("wall", "cpu"):
        raise ConfigurationError(f"clock_type is 'wall' or 'cpu', not {clock_type!r}")
    if cpu_profiling_mode != "sampling":
        raise ConfigurationError(f"cpu_profiling_mode is 'sampling', not {cpu_profiling_mode!r}")
    if cpu_sampling_interval_usec not in INTERVAL_RANGE:
        raise ConfigurationError(
            f"cpu_sampling_interval_usec is {INTERVAL_RANGE[0]} to {INTERVAL_RANGE[-1]}, "
            f"not {cpu_sampling_interval_usec!r}"
        )
    wishes = StartOptions(
        object_trace=enable_object_trace,
        gc_stats=enable_gc_stats,
        cpu=enable_cpu_profiling,
        clock=clock_type,
        interval_usec=cpu_sampling_interval_usec,
    )
    return _start(pub_port, request_port, wishes, options)


def stop_server() -> bool:
    """Stops the embedded server with its profilers, however it was started; returns when it has ended.

    Returns:
        True; False, with a line on stderr, when none runs.
    """
    if _stop():
        return True
    say(CANNOT_STOP)
    return False


def ensure_embedded(settings: Settings, keep: Callable[[], None] = lambda: None) -> EmbeddedAddress:
    """The embedded server of this process, started if none runs, with a record for ``settings.name``.

    A server started here listens at a Unix socket in the runtime directory, and on loopback TCP if ``pub_port`` or
    ``req_port`` say so. One that runs already is used as it is (only a socket it lacks is added). Where somebody has
    removed its files (what cleans temporary directories, say) it gets new ones within a second, and a new id. Cheap
    when there is nothing to do; safe from several threads and greenlets at once, and after a fork.

    Args:
        settings: of the application.
        keep: called every second in the server's thread, to look after what else is in the directory; does not raise.

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
    """Says once of each application's options which of them come too late for the server that runs."""
    if process.running is None or any(settings is known for known in process.compared):
        return
    process.compared.append(settings)
    ignored = settings.without_effect(process.in_force)
    if ignored:
        log.warning(
            "rbkit: %s: no effect, since the embedded server of this process runs already with other options. Give "
            "them to whatever starts it: the middleware that serves first, or start_server()",
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
    """What is known, with its record written anew, where nothing else is missing: cleaners leave a socket in use."""
    there, address = process.known[key]
    if there != directory or not os.path.exists(address.path):
        return None
    try:
        process.written[directory, key[1]].write(directory)
    except OSError as error:
        raise RuntimeDirectoryError(str(directory), f"cannot be written ({error.strerror})") from error
    return address


def _look_after(process: _Process) -> Generator[float | None, None, None]:
    """In the server's thread: brings back what somebody removed, so that idle workers are found too."""
    while True:
        yield _LOOK_EVERY
        # Never waited for: whoever holds it may be waiting for this thread.
        if process.lock.acquire(False):
            try:
                for key, (settings, _) in process.kept.items():
                    if _intact(process, key) is None:
                        _renew(process, key, records.runtime_directory(settings.runtime_dir), settings)
            except (RbkitError, OSError):
                pass  # the directory cannot be used now; whoever asks for it next is told why
            finally:
                process.lock.release()
        for _, keep in tuple(process.kept.values()):
            keep()


def _intact(process: _Process, key: tuple[str | None, str]) -> EmbeddedAddress | None:
    """What is known of a record whose files are all there."""
    directory, address = process.known.get(key, (None, None))
    if directory is None or address is None:
        return None
    return address if records.is_complete(directory, key[1], address.id, address.path) else None


def _disown(process: _Process, server: Server) -> None:
    """Files are missing: nobody gets in by what is left of them. The socket stays bound until the server ends."""
    for (directory, name), address in process.records.items():
        records.remove(directory, name, address.id)
    process.records.clear()
    process.known.clear()
    process.written.clear()
    server.forget_path(records.new_id())


def _record(process: _Process, server: Server | None, directory: Path, settings: Settings) -> EmbeddedAddress:
    """Binds, then writes the record: who is listed answers."""
    server_id = server.id if server is not None else records.new_id()
    path = server.path if server is not None else None
    address = EmbeddedAddress(path or records.socket_path(directory, settings.name, server_id), server_id)
    try:
        record = records.Record.of_this_process(server_id, settings.name, address.endpoint)
        if server is None:
            ports = settings.pub_port, settings.req_port
            # Not looked at where there are no ports: the same variables configure a gateway's side of the link.
            binding = settings.binding() if ports != (None, None) else Binding()
            server = Server(
                _tcp(settings.pub_port, binding),
                _tcp(settings.req_port, binding),
                path=address.path,
                curve=_keys(binding),
                server_id=server_id,
                application=settings.title,
                runtime_dir=str(directory),
                **_server_options(settings),
            )
            server.start()
            process.server, process.in_force = server, settings
            process.compared.append(settings)
        else:
            server.identity.serve_for(settings.title)
            if path is None:
                server.listen(address.path)
        # From here on _forget() removes what is left, the socket of a record that could not be written too.
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


def _start(
    pub_port: Port, request_port: Port, wishes: StartOptions | None, options: Mapping[str, Any]
) -> Server | Literal[False]:
    pub = _port(pub_port, "RBKIT_PUB_PORT", DEFAULT_PUB_PORT)
    req = _port(request_port, "RBKIT_REQ_PORT", DEFAULT_REQ_PORT)
    settings = replace(Settings.from_options(taker=Taker.SERVER, **options), pub_port=pub, req_port=req)
    binding = settings.binding() if (pub, req) != (None, None) else Binding()
    keys = _keys(binding)
    process = _mine()
    server: Server | None = None
    why = ""
    _install_hooks()
    with process.lock:
        if process.running is None:
            _forget(process)
            server = Server(
                _tcp(pub, binding),
                _tcp(req, binding),
                curve=keys,
                server_id=records.new_id(),
                options=wishes,
                **_server_options(settings),
            )
            try:
                server.start()
            except ServerStartError as error:
                why = f"\nrbkit: {error}"
            else:
                process.server, process.in_force = server, settings
    if server is not None and process.server is server:
        _tell(server)
        return server
    # Rbkit's API tells so by its result, and in the first of these words.
    say(f"{CANNOT_START}{why}")
    return False


def _tell(server: Server) -> None:
    # Not under the lock, since a handler of logging may switch greenlets.
    log.info("rbkit: native sampler: %s", server.profiling.cpu.native)


def _stop() -> bool:
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


def _port(port: Port, variable: str, default: int, environ: Mapping[str, str] = os.environ) -> int | None:
    value: Any = port
    if port is ...:
        # Set but empty is how deployment tools spell "not set".
        value = environ.get(variable, "").strip() or default
    return None if value is None else check_port(value)


def _tcp(port: int | None, binding: Binding) -> list[str]:
    return [] if port is None else [binding.endpoint(port)]


def _server_options(settings: Settings) -> dict[str, Any]:
    return {
        "linger": settings.linger,
        "snapshot_rate": settings.snapshot_rate,
        "signum": settings.signal,
        "blocked_log": settings.blocked_log,
        "snapshot_fork": settings.snapshot_fork,
        "snapshot_pause": settings.snapshot_pause,
    }


def _keys(binding: Binding) -> ServerKeys | None:
    if binding.secret_key_file is None or binding.authorized_keys_dir is None:
        return None
    return ServerKeys.load(binding.secret_key_file, binding.authorized_keys_dir)
