"""Serves as a user of its own who may have only so many threads: ``python -m support.few_threads UID THREADS``.

Everything is imported before the user changes, since the interpreter may be where only root looks.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import importlib  # noqa: E402 - what is imported from here on is to be patched
import os  # noqa: E402
import pkgutil  # noqa: E402
import resource  # noqa: E402
import sys  # noqa: E402
from collections.abc import Iterable  # noqa: E402
from typing import Any  # noqa: E402

from gevent.pywsgi import WSGIServer  # noqa: E402

import rbkit_websocket  # noqa: E402

for module in pkgutil.walk_packages(rbkit_websocket.__path__, "rbkit_websocket."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]


def main(uid: int, threads: int) -> None:
    server = WSGIServer(("127.0.0.1", 0), rbkit_websocket.RbkitWebsocket(app))
    server.start()
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    resource.setrlimit(resource.RLIMIT_NPROC, (len(os.listdir("/proc/self/task")) + threads,) * 2)
    print(f"Listening at: http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
