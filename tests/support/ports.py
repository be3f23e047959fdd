"""TCP ports for servers that cannot choose one by themselves, or are to come back on the same one."""

from __future__ import annotations

import random
import socket

# Below those that Linux gives to whoever asks for any port (net.ipv4.ip_local_port_range): a server of another test
# that asks for any never gets one of these.
_CHOICE = range(10_000, 32_000)


_given: set[int] = set()


def free_port() -> int:
    """A port that nobody has, that nobody gets by chance before it is used, and another one each time."""
    while True:
        port = random.choice(_CHOICE)
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port
