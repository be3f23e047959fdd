"""A process that may start no more threads answers as it would without us; who wants to watch it is told why not."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack

import pytest
from support.limits import answer_or_refusal
from support.rawclient import connect_rbkit
from support.servers import TOKEN, WebServer
from support.standin import StandIn

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user with no other threads")

COMMANDS = (
    *("start_cpu_polling", "cpu_profile", "set_cpu_interval 100", "wait_profile on", "start_memory_profile", "stacks"),
    *("memory_profile", "trace_objects x", "snapshot_start", "snapshot_status 1", "trigger_gc", "blocked", "status"),
)


@pytest.mark.parametrize("threads", range(11))
@pytest.mark.parametrize("upstream", [False, True], ids=["embedded", "upstream"])
def test_few_can_be_started(threads: int, upstream: bool) -> None:
    # Of nobody else's on this machine, however many tests run.
    uid = 100_000 + os.getpid() % 100_000 * 2 + upstream
    with ExitStack() as stack:
        env: dict[str, str | None] = {}
        if upstream:
            rbkit = stack.enter_context(StandIn("tcp://127.0.0.1:*", "tcp://127.0.0.1:*"))
            env = {"RBKIT_PUB_ENDPOINT": rbkit.pub_endpoint, "RBKIT_REQ_ENDPOINT": rbkit.req_endpoint}
        web = WebServer([sys.executable, "-m", "support.few_threads", str(uid), str(threads)], env=env, check_log=False)
        os.chown(web.runtime_dir, uid, uid)
        stack.enter_context(web)
        assert web.get("/") == b"hello"

        def session() -> None:
            with connect_rbkit(web.url("/"), token=TOKEN) as client:
                assert client.command("handshake")
                for command in () if upstream else COMMANDS:
                    assert client.command(command)
                    assert web.get("/") == b"hello"

        def servers() -> None:
            web.get("/__rbkit__/servers", headers={"Authorization": f"Bearer {TOKEN}"})

        for ask in (session, servers):
            answer_or_refusal(ask, ["threads can be started"])
            assert web.get("/") == b"hello"
        assert web.process.poll() is None
