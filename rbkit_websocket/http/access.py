"""Access to an application: its gate and the generated token, made and printed once for all workers."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from ..errors import RuntimeDirectoryError
from ..fleet import records
from ..fleet.tokenfile import generated_token, has_token
from ..options.table import Settings
from ..system.clock import time
from ..system.loaded import import_gevent
from ..system.stderr import say
from .application_address import application_url
from .gate import Gate

__all__ = ["Access"]

log = logging.getLogger(__name__)

# Seconds between two looks at the token's file.
_LOOK_EVERY: Final = 1.0
# Seconds beyond that until no worker will put the file back; and between two looks meanwhile.
_SLACK: Final = 0.5
_POLL: Final = 0.02


class Access:
    """The gate of one application in this process.

    Args:
        settings: of the application.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._gate: Gate | None = None
        self._token: str | None = None  # the generated token
        self._next_look = 0.0

    def gate(self, environ: Mapping[str, Any] | None = None) -> Gate:
        """The gate. The first call of all workers makes the token and prints it, once.

        Raises:
            RuntimeDirectoryError: the generated token cannot be kept or read.
        """
        gate = self._gate
        if gate is None:
            settings = self._settings
            token = settings.token
            if token is False and settings.authorize is None:
                log.warning("rbkit: token=False, so every client of this application can profile it and read its heap")
            elif token is None and settings.authorize is None:
                directory = self._directory()
                _wait_for_siblings(directory, settings.name)
                token, path, created = generated_token(directory, settings.name)
                self._token = token
                if created:
                    self._announce(token, path, dict(environ or {}))
                else:
                    log.info("rbkit: the token is in %s", path)
            gate = self._gate = self._gate_of(token or None)
        elif self._token is not None:
            self.keep()
        return self._gate or gate

    def _gate_of(self, token: str | None) -> Gate:
        settings = self._settings
        return Gate(settings.name, token, settings.authorize, settings.allowed_origins)

    def look(self) -> None:
        """Looks at the token's file, once a second at the most. Called by each request of an application beside which
        no thread of ours runs."""
        if self._token is not None and (now := time.monotonic()) >= self._next_look:
            self._next_look = now + _LOOK_EVERY
            self.keep()

    def keep(self) -> None:
        """Puts the generated token's file back where it is gone, or takes the token of an existing file: all workers
        hold the same again, even if the directory is cleaned. Never raises, never logs: any thread calls it.
        """
        held = self._token
        if held is None:
            return
        try:
            token, _, _ = generated_token(self._directory(), self._settings.name, held)
        except (RuntimeDirectoryError, OSError):
            return  # the held token stays
        if token != held:
            self._token = token
            self._gate = self._gate_of(token)

    def _directory(self) -> Path:
        return records.runtime_directory(self._settings.runtime_dir)

    def _announce(self, token: str, path: Path, environ: dict[str, Any]) -> None:
        # Late, as it imports gevent.
        import_gevent()
        from ..takeover.registry import refusal

        # Behind #, the token reaches no proxy's and no server's log when the address is opened.
        address = f"{application_url(environ)}{self._settings.mount}/#token={quote(token, safe='')}"
        problem = refusal(environ) if environ else None
        lines = [f"watch this application at {address}"]
        if problem is not None:
            # The address all the same: it is not printed again, and another server may get the same token.
            lines = [f"this application cannot be watched here: {problem}", f"under a server that can: {address}"]
        lines.append(f"the token stays the same; it is in {path}")
        # Printed, not logged: log files are kept and read by others.
        if not say("\n".join(f"rbkit: {line}" for line in lines)):
            log.info("rbkit: the token is in %s", path)


def _wait_for_siblings(directory: Path, application: str) -> None:
    """Waits until a running worker has put the token's file back, where it is gone while workers hold the token.

    Raises:
        RuntimeDirectoryError: the directory cannot be read.
    """
    if has_token(directory, application):
        return
    if not any(record.pid != os.getpid() for record in records.listing(directory, application)):
        return
    # They look once a second. An event, which gevent may have patched: other requests go on meanwhile.
    never = threading.Event()
    deadline = time.monotonic() + _LOOK_EVERY + _SLACK
    while not has_token(directory, application) and time.monotonic() < deadline:
        never.wait(_POLL)
