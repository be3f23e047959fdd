"""TCP ports for servers that cannot choose one by themselves, or are to come back on the same one."""

from __future__ import annotations

import random
import socket

# Below those that Linux gives to whoever asks for any port (net.ipv4.ip_local_port_range): a server of another test
# that asks for any never gets one of these.
_CHOICE = range(10_000, 32_000)


def free_port() -> int:
    """A port that nobody has, and that nobody gets by chance before it is used."""
    while True:
        port = random.choice(_CHOICE)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
