"""For .ci/wheels, in the environment that it has made: ``COMMAND...`` runs one, ``check WHEEL`` looks at what is there.

Both where there is no network but the machine's own, which is switched on first.
"""

from __future__ import annotations

import fcntl
import shutil
import socket
import struct
import subprocess
import sys
import textwrap
from pathlib import Path

_SIOCSIFFLAGS = 0x8914  # linux/sockios.h
_UP_AND_RUNNING = 0x41  # IFF_UP | IFF_RUNNING, linux/if.h
_SECONDS = 5


def switch_on_loopback() -> None:
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _UP_AND_RUNNING))


def check(wheel: str) -> None:
    """Fails if something is missing, or there is a program that users need not have."""
    assert [name for name in ("cc", "gcc", "node", "npm", "sh") if shutil.which(name)] == []
    from rbkit_websocket import start_server, stop_server
    from rbkit_websocket.http.dashboard import bundle

    assert {"index.html", "app.js", "app.css"} <= set(bundle.names())
    status = start_server(None, None).status
    stop_server()
    told = {name: status[name] for name in ("native", "heap_snapshot", "object_trace")}
    print(*(f"    {name}: {word}" for name, word in told.items()), sep="\n")
    tag = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    if wheel.endswith("-none-any.whl"):
        assert all("the extension was not built" in word for word in told.values())
    else:
        assert f"-{tag}-{tag}-" in wheel, f"this is no wheel for {tag}"
        assert told["native"] == "yes"
        assert not any("not built" in word or "cannot be loaded" in word for word in told.values())
    demo = Path(sys.executable).with_name("rbkit-websocket")
    done = subprocess.run((demo, "demo", "--seconds", str(_SECONDS)), capture_output=True, text=True, check=False)
    last = done.stdout[done.stdout.rfind("second=") :]
    if done.returncode or "function=edit_distance" not in last:
        sys.exit(f"{done.stdout}{done.stderr}\nThe demo has failed, or its profile does not show its application.")
    print(textwrap.indent(last, "    "), flush=True)


if __name__ == "__main__":
    switch_on_loopback()
    if sys.argv[1] == "check":
        check(sys.argv[2])
    else:
        sys.exit(subprocess.run(sys.argv[1:], check=False).returncode)
