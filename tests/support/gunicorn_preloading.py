"""gunicorn settings: a master that has loaded the application, which patches late, and is watched like a worker.

What the master waits in is a queue that it made before: its event loop never turns.
"""

import os

preload_app = True


def when_ready(arbiter: object) -> None:
    from gevent import monkey, sleep

    from rbkit_websocket import ensure_started

    monkey.patch_all()
    if os.environ.get("TEST_TURNED"):
        sleep(0.01)
    ensure_started()
