"""The binding of the embedded server's TCP ports, and its protection."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from ..errors import ConfigurationError

__all__ = ["Binding"]


@dataclass(frozen=True)
class Binding:
    """Address of the embedded server's TCP ports, and the clients let in there.

    Args:
        host: IP address, or ``*`` for all.
        secret_key_file, authorized_keys_dir: the server's CURVE key and the clients it lets in; both or none.
        insecure: whether other machines may connect without CURVE.

    Raises:
        ConfigurationError: keys without clients or the reverse; open to other machines without either.
    """

    host: str = "127.0.0.1"
    secret_key_file: str | None = None
    authorized_keys_dir: str | None = None
    insecure: bool = False

    def __post_init__(self) -> None:
        if (self.secret_key_file is None) != (self.authorized_keys_dir is None):
            raise ConfigurationError(
                "curve_secret_key_file and curve_authorized_keys_dir go together: the server's own key, and the "
                "directory with the public keys of the clients that it lets in (rbkit-websocket keygen makes keys)"
            )
        if self.secret_key_file is None and not self.insecure and not self.loopback:
            raise ConfigurationError(
                f"bind_host={self.host!r} opens the profiler to other machines, without encryption and to anybody: "
                "give curve_secret_key_file and curve_authorized_keys_dir (rbkit-websocket keygen makes keys), or "
                "insecure_bind=True if that network is yours alone"
            )

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches the ports."""
        return self.host != "*" and ipaddress.ip_address(self.host).is_loopback

    def endpoint(self, port: int) -> str:
        """ZeroMQ endpoint of one port."""
        return f"tcp://[{self.host}]:{port}" if ":" in self.host else f"tcp://{self.host}:{port}"
