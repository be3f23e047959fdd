"""Whether a profile of a real server says what is so: requests do known work, and nothing of ours takes the blame."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from support.embeddedpeer import Peer
from support.loads import LOADS
from support.native import REASON
from support.servers import SERVERS, THREADED, WebServer
from support.waiting import wait_until

from rbkit_websocket.fleet.records import listing

REQUESTS = 4


@dataclass
class Site:
    """A server whose requests do known work, and a client of its embedded server."""

    web: WebServer
    peer: Peer
    native: bool = True
    cursor: int = 0
    frames: list[Any] = field(default_factory=list)

    def begin(self) -> None:
        self.cursor = self.peer.map("cpu_profile")["cursor"]

    def do(self, load: str, times: int = REQUESTS) -> tuple[float, float]:
        """Microseconds and microseconds of CPU time that the requests say their work took."""
        measured = [json.loads(self.web.get(f"/{load}")) for _ in range(times)]
        return sum(wall for wall, _ in measured) * 1e6, sum(cpu for _, cpu in measured) * 1e6

    def stacks(self) -> list[dict[str, Any]]:
        answer = self.peer.map(f"cpu_profile {self.cursor}")
        self.frames = answer["frames"]
        return answer["stacks"]

    def has(self, stack: dict[str, Any], function: str) -> bool:
        return any(self.frames[index][0] == function for index in stack["frames"])

    def is_ours(self, stack: dict[str, Any]) -> bool:
        """Whether it was a function of the package under test that took the time."""
        return "/rbkit_websocket/" in self.frames[stack["frames"][0]][2]


SITES = [
    pytest.param(("gunicorn-gevent", "1"), id="gevent-native", marks=pytest.mark.skipif(bool(REASON), reason=REASON)),
    pytest.param(("gunicorn-gevent", "0"), id="gevent-python"),
    pytest.param(("gunicorn-gthread", "1"), id="gthread-native", marks=pytest.mark.skipif(bool(REASON), reason=REASON)),
    pytest.param(("gunicorn-gthread", "0"), id="gthread-python"),
]


@pytest.fixture(scope="module", params=SITES)
def web(request: pytest.FixtureRequest) -> Iterator[WebServer]:
    server, native = request.param
    launch = {**SERVERS, **THREADED}[server]
    with launch("support.loads:planted()", workers=1, env={"RBKIT_NATIVE": native}) as web:
        wait_until(lambda: web.get("/serving") and listing(web.runtime_dir, web.name), "the embedded server")
        yield web


@pytest.fixture
def site(web: WebServer, request: pytest.FixtureRequest) -> Iterator[Site]:
    (record,) = listing(web.runtime_dir, web.name)
    with Peer.at(record.endpoint) as peer:
        peer.map("start_cpu_polling")
        # Whoever subscribes has the server's thread want the interpreter's lock as often as the sampler's.
        peer.subscribe()
        yield Site(web, peer, "native" in request.node.callspec.id)


@pytest.mark.timing
@pytest.mark.parametrize("load", [load for load in LOADS if load != "serving"])
def test_the_time_of_a_request_stands_under_what_it_does(site: Site, load: str) -> None:
    site.begin()
    wall, cpu = site.do(load)
    stacks = [stack for stack in site.stacks() if stack["request"] == f"GET /{load}"]
    seen = [stack for stack in stacks if site.has(stack, load)]
    named = {load: sum(stack["wall_us"] for stack in seen) / wall}
    assert named[load] == pytest.approx(1, abs=0.15), [
        (site.frames[stack["frames"][0]][:3], stack["wall_us"]) for stack in stacks[:5]
    ]
    if cpu > 0.1 * wall:
        assert sum(stack["cpu_us"] for stack in seen) / cpu == pytest.approx(1, abs=0.2)
    else:
        assert sum(stack["cpu_us"] for stack in seen) < 0.1 * wall


def test_no_function_of_ours_takes_the_blame(site: Site) -> None:
    site.begin()
    for load in LOADS:
        site.do(load)
    stacks = site.stacks()
    requests = sum(stack["wall_us"] for stack in stacks if stack["request"])
    ours: dict[str, int] = {}
    for stack in filter(site.is_ours, stacks):
        name, _, file, *_ = site.frames[stack["frames"][0]]
        ours[f"{name} in {file}"] = ours.get(f"{name} in {file}", 0) + stack["wall_us"]
    assert sum(ours.values()) < 0.01 * requests, ours


@pytest.mark.timing
def test_blocked_names_what_kept_the_interpreters_lock(site: Site) -> None:
    before = site.peer.map("blocked")
    if "error" in before:
        pytest.skip("no event loop here")
    wait_until(lambda: site.peer.map("blocked")["limit"] == 0.1, "the watch")
    for load in ("json_loads", "regular_expression", "big_integers", "sorting"):
        site.do(load)
    found = wait_until(lambda: (answer := site.peer.map("blocked"))["now"] is None and answer, "the end of the last")
    assert found["count"] > 0
    wrong = []
    for entry in found["stacks"]:
        functions = [frame[0] for frame in entry["stack"]]
        assert "/rbkit_websocket/" not in entry["stack"][0][2]
        if not set(functions) & set(LOADS):
            wrong.append((entry["total"], functions[:4]))
    assert sum(seconds for seconds, _ in wrong) <= 0.1 * found["total"], wrong


@pytest.mark.skipif(bool(REASON), reason=REASON)
def test_what_an_application_does_last_is_not_charged_to_who_called_it() -> None:
    with SERVERS["gunicorn-gevent"]("support.loads:returning()") as web:
        wait_until(lambda: web.get("/serving") is not None and listing(web.runtime_dir, web.name), "the server")
        (record,) = listing(web.runtime_dir, web.name)
        with Peer.at(record.endpoint) as peer:
            peer.map("start_cpu_polling")
            site = Site(web, peer)
            site.begin()
            for _ in range(REQUESTS):
                assert web.get("/last") == b"odd"
            assert not any(stack["wall_us"] > 10_000 for stack in site.stacks() if site.is_ours(stack))


def shares(stacks: list[dict[str, Any]], clock: str, of: float) -> dict[str | None, float]:
    """What each request has of something."""
    found: dict[str | None, float] = {}
    for stack in stacks:
        found[stack["request"]] = found.get(stack["request"], 0.0) + stack[clock] / of
    return found


@pytest.mark.parametrize("stream", ["generator", "iterator", "file"])
def test_what_a_streamed_body_computes_belongs_to_its_request(site: Site, stream: str) -> None:
    site.begin()
    _, cpu = site.do(f"streamed/{stream}", 1)
    found = shares([stack for stack in site.stacks() if site.has(stack, "computing")], "cpu_us", cpu)
    assert found == {f"GET /streamed/{stream}": pytest.approx(1, abs=0.2)}


def test_the_waits_of_a_streamed_body_belong_to_its_request(site: Site) -> None:
    if "error" in site.peer.map("blocked"):
        pytest.skip("no event loop here")
    site.peer.map("wait_profile on")
    site.begin()
    wait_until(lambda: site.do("napping") and any(stack["waiting"] for stack in site.stacks()), "the first waits")
    site.begin()
    wall, _ = site.do("streamed/dripping", 1)
    waits = [stack for stack in site.stacks() if stack["waiting"] and site.has(stack, "dripping")]
    # The sampler in Python misses the end of each wait.
    assert shares(waits, "wall_us", wall) == {
        "GET /streamed/dripping": pytest.approx(1, abs=0.2) if site.native else pytest.approx(0.7, abs=0.4)
    }
