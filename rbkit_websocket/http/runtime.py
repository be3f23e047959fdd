"""State of one application's middleware: its gate, and the Rbkit servers that it reaches."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

from ..errors import RbkitError
from ..options.table import Settings
from .access import Access
from .servers import Servers, servers_of

__all__ = ["Runtime"]

log = logging.getLogger(__name__)


class Runtime:
    """Created with the middleware, started by the first request or ``ensure_started()``; one process, one start.

    Args:
        settings: the middleware's.
        servers: the Rbkit servers; by default those that the settings name.

    Attributes:
        settings, servers: the same.
        access: the gate.
    """

    def __init__(self, settings: Settings, servers: Servers | None = None) -> None:
        self.settings = settings
        self.access = Access(settings)
        self.servers = servers or servers_of(settings, self.access.keep)
        self._pid: int | None = None

    def start(self, environ: Mapping[str, Any] | None = None) -> None:
        """Starts gate and server of this application. Failures are logged: the application goes on without us.

        Args:
            environ: of the first request, for the printed address.
        """
        if self._pid == os.getpid():
            return
        self._pid = os.getpid()
        try:
            self._start(environ)
        except ValueError:
            pass  # logging itself fails: standard error is closed

    def _start(self, environ: Mapping[str, Any] | None) -> None:
        try:
            self.access.gate(environ)
            self.servers.own()
        except RbkitError as error:
            log.error("rbkit: %s. The application runs on, but cannot be watched.", error)
        except OSError as error:  # no descriptor to import with, say
            log.error("rbkit: could not start (%s). The application runs on, but cannot be watched.", error.strerror)
        except Exception:  # a boundary: profiling must never take the application down
            log.exception("rbkit: could not start. The application runs on, but cannot be watched.")

    @property
    def looks_after_itself(self) -> bool:
        """Whether a thread of ours in this process looks at the token's file now and then."""
        settings = self.settings
        return settings.embedded or settings.token is not None or settings.authorize is not None
