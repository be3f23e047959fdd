"""Rbkit's API of three calls: the embedded server without the middleware."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import EllipsisType
from typing import Any, Final, Literal, Unpack

from ..errors import ConfigurationError
from ..options.table import ServerOptions, Settings, Taker
from ..options.values import check_port
from ..protocol.commands.cpu import INTERVAL_RANGE
from ..protocol.constants import DEFAULT_CPU_INTERVAL_USEC, DEFAULT_PUB_PORT, DEFAULT_REQ_PORT
from ..system.environment import variable
from ..system.stderr import say
from . import embedded
from .profiling import StartOptions
from .server import Server

__all__ = ["start_profiling", "start_server", "stop_server"]

CANNOT_START: Final = (
    "Rbkit server couldn't bind to socket, check if it is already running. Profiling data will not be available."
)
CANNOT_STOP: Final = "Cannot stop Rbkit server. Is it running?"

Port = int | None | EllipsisType


def start_server(
    pub_port: Port = ..., request_port: Port = ..., **options: Unpack[ServerOptions]
) -> Server | Literal[False]:
    """Starts the embedded server on TCP ports, without profiling anything yet.

    Args:
        pub_port: port of the published data, 1024 to 65000; default ``RBKIT_PUB_PORT`` or 5555; None: no such socket.
        request_port: port of the commands; default ``RBKIT_REQ_PORT`` or 5556; None: no such socket.
        options: of the embedded server, see docs/options.rst; an option left out comes from the environment.

    Returns:
        The server; False, with a line on stderr, when one runs already or a port cannot be bound.

    Raises:
        ConfigurationError: a wrong port ("Invalid port value"), or an option that cannot work.
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
    """Starts the embedded server as :func:`start_server` does, with profilers that stay on without listeners, too.

    Args:
        pub_port, request_port: as for :func:`start_server`.
        enable_object_trace: objects created and destroyed, begins and ends of collections.
        enable_gc_stats: ``gc_stats`` every 5 s.
        enable_cpu_profiling: CPU samples.
        clock_type: the weight of a sample, ``"wall"`` or ``"cpu"`` time.
        cpu_profiling_mode: ``"sampling"``, the only one.
        cpu_sampling_interval_usec: microseconds that a published sample stands for.
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
    if embedded.stop():
        return True
    say(CANNOT_STOP)
    return False


def _start(
    pub_port: Port, request_port: Port, wishes: StartOptions | None, options: Mapping[str, Any]
) -> Server | Literal[False]:
    pub = _port(pub_port, "RBKIT_PUB_PORT", DEFAULT_PUB_PORT)
    req = _port(request_port, "RBKIT_REQ_PORT", DEFAULT_REQ_PORT)
    settings = replace(Settings.from_options(taker=Taker.SERVER, **options), pub_port=pub, req_port=req)
    server, why = embedded.start(settings, wishes)
    if server is not None:
        return server
    # Rbkit's API reports it by the result, and with this text.
    say(f"{CANNOT_START}\nrbkit: {why}" if why else CANNOT_START)
    return False


def _port(port: Port, name: str, default: int) -> int | None:
    value: Any = port
    if port is ...:
        value = variable(name) or default
    return None if value is None else check_port(value)
