"""gevent, as far as this package uses it. Import it through :func:`~.loaded.import_gevent`."""

from __future__ import annotations

import gevent
import gevent.event
import gevent.hub
import gevent.monkey
import gevent.os
import gevent.pywsgi
import gevent.socket

__all__ = ["gevent"]
