"""Every command asked of a real web server, and its answers as files: ``tests/recordings/answers``.

``python tests/support/answers.py`` records them anew, with the C extensions and without them. In the files the folders
of the machine are replaced by others of the same length; all other bytes are what the server sent.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

sys.path[:0] = [] if __package__ else [str(Path(__file__).parents[1])]
from rbkit_websocket.protocol.codec import unpack  # noqa: E402
from support.rawclient import RbkitConnection, connect_rbkit  # noqa: E402
from support.servers import SERVERS, TOKEN, WebServer  # noqa: E402
from support.waiting import wait_until  # noqa: E402

FOLDER = Path(__file__).parents[1] / "recordings" / "answers"
WAYS = {"native": "1", "plain": "0"}
"""With the C extensions and without them: folders of recordings, and ``RBKIT_NATIVE``."""

RECORDINGS = {way: {path.stem: path.read_bytes() for path in sorted((FOLDER / way).glob("*.msgpack"))} for way in WAYS}
"""By way and command; ``error`` is what a command answers that cannot be done."""


def start(way: str) -> WebServer:
    """A server in which there is something to see."""
    return SERVERS["pywsgi"]("plain", env={"RBKIT_NATIVE": WAYS[way]})


def ask_all(web: WebServer) -> Iterator[tuple[str, bytes]]:
    """Each command of the table with its answer; some commands come more than once."""
    with connect_rbkit(web.url(), token=TOKEN) as client:
        yield from _ask_all(web, client)


def _ask_all(web: WebServer, client: RbkitConnection) -> Iterator[tuple[str, bytes]]:
    def ask(command: str) -> tuple[str, bytes]:
        return command.partition(" ")[0], client.command(command)

    for command in (
        *("handshake", "use_cpu_time", "use_wall_time", "start_memory_profile", "start_cpu_profiling"),
        *("set_cpu_interval 500", "wait_profile on", "start_cpu_polling", "cpu_events off"),
        *("trace_objects support.apps.*", "memory_profile", "blocked", "stacks"),
    ):
        yield ask(command)
    nap = threading.Thread(target=web.get, args=["/nap"], kwargs={"seconds": "1"})
    nap.start()
    web.get("/leak", count="3")
    web.get("/busy", seconds="0.1")
    web.get("/block", seconds="0.3")
    wait_until(lambda: unpack(ask("blocked")[1])["stacks"], "the block to be seen")
    yield ask("stacks")
    nap.join()
    for command in ("blocked", "cpu_profile", "memory_profile", "status", "trigger_gc", "objectspace_snapshot"):
        yield ask(command)
    cursor = unpack(ask("memory_profile")[1])["cursor"]
    web.get("/leak", count="3")
    yield ask(f"memory_profile {cursor}")
    name, answer = ask("snapshot_start")
    yield name, answer
    number = unpack(answer)["id"]
    yield ask(f"snapshot_chunk {number} 0")
    facts = wait_until(lambda: _made(ask(f"snapshot_status {number}")[1]), "the snapshot")
    yield ask(f"snapshot_status {number}")
    yield ask(f"snapshot_chunk {number} {facts['chunks'] - 1}")
    yield "error", ask("stacks now")[1]
    yield "error", ask("snapshot_status 12345")[1]
    for command in ("goodbye", "stop_memory_profile", "stop_cpu_profiling"):
        yield ask(command)


def _made(answer: bytes) -> dict[str, int] | None:
    facts = unpack(answer)
    return facts if facts["state"] == "done" else None


def _neutral(answer: bytes, folders: dict[str, str]) -> bytes:
    for folder, name in folders.items():
        answer = answer.replace(folder.encode(), name.ljust(len(folder), "-")[: len(folder)].encode())
    return answer


def record() -> None:
    """Writes the files."""
    for way in WAYS:
        folder = FOLDER / way
        folder.mkdir(parents=True, exist_ok=True)
        with start(way) as web:
            folders = {
                str(Path(__file__).parents[2]): "/srv/shop",
                str(web.runtime_dir): "/run/shop",
                os.path.realpath(sys.base_prefix): "/opt/python",
            }
            for name, answer in ask_all(web):
                (folder / f"{name}.msgpack").write_bytes(_neutral(answer, folders))


if __name__ == "__main__":
    record()
