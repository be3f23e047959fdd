"""First requests while another thread is in the midst of an import: ``sys.modules`` has what is not there yet."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.rawclient import RawClient, upgrade_request
from support.servers import TESTS, THREADED, TOKEN
from support.waiting import scaled

from .conftest import target

MODULES = (
    *("greenlet", "gevent", "gevent._hub_local", "gevent.hub", "gevent.monkey", "gevent.threadpool"),
    "gunicorn.workers.base",
)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_that_is_half_imported_is_not_there(module: str, runtime_dir: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "RBKIT_TOKEN": TOKEN, "RBKIT_RUNTIME_DIR": str(runtime_dir)}
    process = subprocess.run(
        [sys.executable, "-m", "support.halfway", module],
        env=environment,
        capture_output=True,
        text=True,
        timeout=scaled(30),
    )
    assert process.stdout == "fine\n", process.stderr
    assert "Traceback" not in process.stderr
    assert "could not start" not in process.stderr


@pytest.mark.parametrize("attempt", range(3))
def test_a_worker_of_threads_whose_first_requests_come_at_once(attempt: int) -> None:
    def ask(number: int) -> int:
        with RawClient(web.port) as client:
            if number % 2:
                return client.request(upgrade_request(target())).status
            page = ("/hello", "/__rbkit__/servers")[number // 2 % 2]
            head = f"GET {page} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
            return client.request(head.encode()).status

    with THREADED["gunicorn-gthread"]() as web, ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(ask, range(8)))
        assert set(statuses) <= {101, 200, 503}, web.log()
        assert statuses.count(200) == 4
        assert "partially initialized" not in web.log()
        assert "rbkit: could not" not in web.log()
