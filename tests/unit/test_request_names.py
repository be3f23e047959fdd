"""Which request a stack belongs to, and what it is called."""

from __future__ import annotations

import gc
import io
import itertools
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.handlers import SimpleHandler

import pytest
from support.embeddedpeer import profile_of, unpack
from support.native import native, spin
from support.waiting import wait_until

from rbkit_websocket import RbkitWebsocket, middleware
from rbkit_websocket.native.loader import extension
from rbkit_websocket.profilers.base import Host
from rbkit_websocket.profilers.cpu.aggregate import CpuProfiler
from rbkit_websocket.profilers.cpu.sampler import walk
from rbkit_websocket.profilers.requests import request_names
from rbkit_websocket.profilers.requests.request_names import RequestNames
from rbkit_websocket.profilers.requests.server_functions import _Where
from rbkit_websocket.profilers.requests.tracker import REQUESTS, TOLD, Request, Streamed
from rbkit_websocket.server.originals import AppThread, make_host

ENDPOINTS: dict[str, Any] = {
    "token": False,
    "pub_endpoint": "tcp://127.0.0.1:5555",
    "req_endpoint": "tcp://127.0.0.1:5556",
}


@pytest.fixture(autouse=True)
def no_routes_are_known() -> None:
    """Nothing of what the process has learnt in another test."""
    REQUESTS.names._routes.clear()
    REQUESTS.names._learnt.clear()


@pytest.fixture
def host() -> Iterator[Host]:
    app = AppThread()
    yield make_host(app)
    app.close()


@pytest.fixture(params=["python", pytest.param("native", marks=native), pytest.param("public walk", marks=native)])
def profiler(request: pytest.FixtureRequest, host: Host, monkeypatch: pytest.MonkeyPatch) -> Iterator[CpuProfiler]:
    if request.param == "python":
        monkeypatch.setenv("RBKIT_NATIVE", "0")
    else:
        extension("_native").use_internal_walk(request.param == "native")
    profiler = CpuProfiler(host)
    profiler.next_clock = "wall"
    yield profiler
    profiler.stop()
    if request.param == "public walk":
        extension("_native").use_internal_walk(True)
    assert not REQUESTS.tracking
    assert not REQUESTS.running


def environ_of(path: str = "/users/42", method: str = "GET", **more: Any) -> dict[str, Any]:
    return {"REQUEST_METHOD": method, "SCRIPT_NAME": "", "PATH_INFO": path, "QUERY_STRING": "secret=1", **more}


def wrap(app: Callable[..., Iterable[bytes]], **options: Any) -> Callable[..., Any]:
    wrapped = RbkitWebsocket(app, **ENDPOINTS, **options)
    wrapped(environ_of("/first"), None)  # type: ignore[arg-type]
    return wrapped


def names_of(profile: dict[str, Any]) -> set[str | None]:
    return {stack["request"] for stack in profile["stacks"]}


def nap(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    if environ["PATH_INFO"] != "/first":
        time.sleep(0.08)
    return []


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/", "GET /"),
        ("", "GET /"),
        ("/users/42", "GET /users/<int>"),
        ("/users/-7/1.5", "GET /users/<int>/<float>"),
        ("/v1/s3/oauth2", "GET /v1/s3/oauth2"),
        ("/reports/2024-01-31.csv", "GET /reports/<date>.csv"),
        ("/orders/order-12345", "GET /orders/order-<int>"),
        ("/x/6f1c0c8e-0c8f-4a55-9c1e-111111111111/y", "GET /x/<uuid>/y"),
        ("/x/6F1C0C8E-0C8F-4A55-9C1E-111111111111.json", "GET /x/<uuid>.json"),
        ("/blob/507f1f77bcf86cd799439011", "GET /blob/<hex>"),
        ("/blob/a1b2c3d4", "GET /blob/<hex>"),
        ("/facade/deadbeef", "GET /facade/deadbeef"),
        ("/reset/c5k3xh-8a7d0ffae2b1c0ffee", "GET /reset/<token>"),
        ("/mail/jo@example.com/inbox", "GET /mail/<email>/inbox"),
        ("/shop;jsessionid=ABCDEF/cart", "GET /shop/cart"),
        ("/static/app.css", "GET /static/app.css"),
        ("/caf\xc3\xa9", "GET /café"),
        ("/bad\xff", "GET /bad\N{REPLACEMENT CHARACTER}"),
        ("/a\x1b[31m\r\nb\x00", "GET /a\N{REPLACEMENT CHARACTER}[31m" + "\N{REPLACEMENT CHARACTER}" * 2 + "b\ufffd"),
        ("/\xe2\x80\xae", "GET /\N{REPLACEMENT CHARACTER}"),
        ("/\u2603", "GET /?"),
    ],
)
def test_paths_are_folded_and_made_harmless(path: str, name: str) -> None:
    assert RequestNames().of(environ_of(path)) == name


def test_the_route_wins_and_is_made_harmless_too() -> None:
    assert RequestNames().of(environ_of(**{"rbkit.route": "/users/<int:number>"})) == "GET /users/<int:number>"
    assert RequestNames().of(environ_of(**{"rbkit.route": "/a\nb"})) == "GET /a\N{REPLACEMENT CHARACTER}b"
    for route in (None, "", 5, b"/x"):
        assert RequestNames().of(environ_of(**{"rbkit.route": route})) == "GET /users/<int>"


def test_script_name_is_part_of_the_name() -> None:
    assert RequestNames().of(environ_of("/x", SCRIPT_NAME="/shop")) == "GET /shop/x"


@pytest.mark.parametrize("method", ["get", "GET /x", "\x1b", "", "A" * 17, None, 7, []])
def test_a_method_that_is_none_is_not_repeated(method: Any) -> None:
    assert RequestNames().of(environ_of("/x", method)) in ("? /x", "?")


class Odd(str):
    """Text with a mind of its own."""

    __slots__ = ()

    def __hash__(self) -> int:
        raise RuntimeError

    __bool__ = __eq__ = __getitem__ = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    "environ",
    [
        *({}, {"PATH_INFO": 5}, {"PATH_INFO": []}, {"REQUEST_METHOD": object()}, {"PATH_INFO": Odd("/")}, None, []),
        {"REQUEST_METHOD": Odd("GET"), "rbkit.route": Odd("/"), "SCRIPT_NAME": Odd("/")},
    ],
)
def test_any_environ_has_a_name(environ: Any) -> None:
    assert RequestNames().of(environ).startswith("?")


def test_a_kind_of_dictionary_will_do() -> None:
    class Environ(dict[str, Any]):
        get = None  # type: ignore[assignment]

    assert RequestNames().of(Environ(environ_of("/x"))) == "GET /x"


def test_names_are_bounded_in_length_and_number(monkeypatch: pytest.MonkeyPatch) -> None:
    table = RequestNames()
    assert len(table.of(environ_of("/x" * 100_000))) == request_names.MAX_LENGTH
    letters = map("".join, itertools.product("abcdefghij", repeat=4))
    found = {table.of(environ_of(f"/{word}")) for word in letters}
    assert len(found) == request_names.MAX_NAMES
    assert table.of(environ_of("/one-more")) == "GET <other>"
    assert len(table._known) <= 20 * request_names.MAX_NAMES
    # After a while there is room again.
    monkeypatch.setattr(request_names, "_PERIOD", 0.0)
    assert table.of(environ_of("/one-more")) == "GET /one-more"


def named_stacks(profile: dict[str, Any]) -> Iterator[tuple[str | None, set[str], int]]:
    """The name of each stack's request, its functions and its weight."""
    for stack in profile["stacks"]:
        yield stack["request"], {profile["frames"][index][0] for index in stack["frames"]}, stack["weight_us"]


@pytest.mark.smoke
def test_samples_carry_their_request(profiler: CpuProfiler) -> None:
    wrapped = wrap(nap)
    profiler.start()

    def sampled() -> set[str | None]:
        wrapped(environ_of(), None)
        time.sleep(0.02)
        found = set()
        for name, functions, _ in named_stacks(profile_of(profiler)):
            # What the middleware does before and after the application belongs to the request or to none.
            if "nap" in functions or not any("rbkit_websocket" in function for function in functions):
                assert name == ("GET /users/<int>" if "nap" in functions else None)
                found.add(name)
        return found

    wait_until(lambda: sampled() == {None, "GET /users/<int>"}, "samples in the request and of others")


@pytest.mark.timing
def test_the_weight_of_a_request_is_its_time(profiler: CpuProfiler) -> None:
    wrapped = wrap(nap)
    profiler.start()
    wrapped(environ_of(), None)
    time.sleep(0.05)
    weight = sum(weight for name, _, weight in named_stacks(profile_of(profiler)) if name is not None)
    assert weight == pytest.approx(80_000, abs=40_000)


def test_a_route_that_is_found_later_names_the_whole_request(profiler: CpuProfiler) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] != "/first":
            time.sleep(0.05)
            environ["rbkit.route"] = "/users/<id>"
            time.sleep(0.05)
        return []

    wrapped = wrap(app)
    profiler.start()

    def named() -> set[str | None]:
        wrapped(environ_of(), None)
        return names_of(profile_of(profiler)) - {None}

    assert wait_until(named, "a sample of a request") == {"GET /users/<id>"}


def test_a_request_that_began_before_the_profiler_has_its_name(profiler: CpuProfiler) -> None:
    inside, ended = threading.Event(), threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] != "/first":
            inside.set()
            ended.wait(30)
        return []

    wrapped = wrap(app)
    thread = threading.Thread(target=wrapped, args=(environ_of(), None))
    thread.start()
    inside.wait(5)
    profiler.start()
    try:
        wait_until(lambda: "GET /users/<int>" in names_of(profile_of(profiler)), "a sample of the request")
    finally:
        ended.set()
        thread.join()


def test_our_own_pages_are_no_requests_of_the_application(profiler: CpuProfiler) -> None:
    def authorize(environ: dict[str, Any]) -> bool:
        time.sleep(0.03)
        return True

    wrapped = wrap(nap, authorize=authorize)
    profiler.start()

    def sampled() -> set[str | None]:
        wrapped(environ_of("/__rbkit__/login", "POST"), lambda status, headers: None)
        stacks = named_stacks(profile_of(profiler))
        return {name for name, functions, _ in stacks if any("authorize" in function for function in functions)}

    assert wait_until(sampled, "samples in the page") == {None}


def test_published_samples_end_with_a_frame_named_after_the_request(profiler: CpuProfiler) -> None:
    wrapped = wrap(nap)
    profiler.start()
    profiler.drain(True)  # single samples are taken for an audience only

    def published() -> list[Any]:
        wrapped(environ_of(), None)
        events = [unpack(event) for event in profiler.drain(True)]
        return [event[2] for event in events if event[2][-1][12] == "GET /users/<int>"]

    with_request = wait_until(published, "a sample of a request")
    thread = with_request[0][0][15]
    assert with_request[0][-1] == {12: "GET /users/<int>", 13: "GET /users/<int>", 6: "", 7: 0, 14: 0, 15: thread}


@pytest.mark.smoke
@pytest.mark.parametrize("on", [False, True], ids=["no profiler", "profiling"])
def test_environ_start_response_result_and_errors_pass_untouched(profiler: CpuProfiler, on: bool) -> None:
    seen: list[Any] = []
    body = iter([b"x"])

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        seen.append((environ, dict(environ), start_response))
        if environ["PATH_INFO"] == "/error":
            raise LookupError("theirs")
        return body

    wrapped = wrap(app)
    if on:
        profiler.start()
    environ, answer = environ_of(), lambda *_: None
    before = dict(environ)
    assert wrapped(environ, answer) is body
    assert seen[-1][0] is environ
    assert seen[-1][1] == before == environ
    assert seen[-1][2] is answer
    with pytest.raises(LookupError, match="theirs"):
        wrapped(environ_of("/error"), answer)
    assert not REQUESTS.running


def test_nothing_is_stored_without_a_profiler_and_nothing_stays_after_it(profiler: CpuProfiler) -> None:
    class Environ(dict):  # type: ignore[type-arg]
        """One that can be watched."""

    counts = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        counts.append(len(REQUESTS.running))
        walk(sys._getframe())
        return []

    wrapped = wrap(app)
    profiler.start()
    environ = Environ(environ_of())
    alive = weakref.ref(environ)
    gc.disable()
    try:
        wrapped(environ, None)
        del environ
        assert alive() is None, "the environ goes with its request, not with the next collection"
    finally:
        gc.enable()
    profiler.stop()
    wrapped(environ_of(), None)
    assert counts == [0, 1, 0]


def send(app: Callable[..., Any], path: str, **environ: Any) -> bytes:
    """Has the standard library's server function call an application and send its body; what it has sent."""
    sent, complaints = io.BytesIO(), io.StringIO()
    handler = SimpleHandler(io.BytesIO(), sent, complaints, environ_of(path, SERVER_PROTOCOL="HTTP/1.0", **environ))
    handler.run(app)
    assert not complaints.getvalue()
    return sent.getvalue()


def streaming(make: Callable[[], Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/first":
            return []
        start_response("200 OK", [])
        return make()

    return app


def parts() -> Iterator[bytes]:
    for _ in range(3):
        spin(0.03)
        yield b"part "


def others() -> Iterator[bytes]:
    for _ in range(3):
        spin(0.03)
        yield b"other "


def requests_of(profiler: CpuProfiler, function: str) -> set[str | None]:
    """The names of what was sampled while that function ran."""
    return {name for name, functions, _ in named_stacks(profile_of(profiler)) if function in functions}


@pytest.mark.smoke
@pytest.mark.parametrize("make", [parts, lambda: map(bytes, parts())], ids=["generator", "without weak references"])
def test_a_streamed_body_belongs_to_its_request(profiler: CpuProfiler, make: Callable[[], Iterable[bytes]]) -> None:
    wrapped = wrap(streaming(make))
    profiler.start()

    def sampled() -> set[str | None]:
        assert send(wrapped, "/users/42").endswith(b"part part part ")
        return requests_of(profiler, "parts")

    assert wait_until(sampled, "a sample of the body") == {"GET /users/<int>"}
    assert not REQUESTS.running


def test_a_body_that_was_on_its_way_before_the_profiler_belongs_to_its_request(profiler: CpuProfiler) -> None:
    def late() -> Iterator[bytes]:
        yield b"part "
        profiler.start()
        found: set[str | None] = set()
        while not found:
            spin(0.03)
            found = requests_of(profiler, "late")
        seen.append(found)

    seen: list[set[str | None]] = []
    send(wrap(streaming(late)), "/users/42")
    assert seen == [{"GET /users/<int>"}]


def test_a_frame_that_takes_the_place_of_another_has_a_name_of_its_own(profiler: CpuProfiler) -> None:
    """Identities of frames are used again; some of the requests go past the middleware."""
    wrapped, past = wrap(streaming(parts)), streaming(others)
    kept: list[Any] = []

    def keep() -> Iterable[bytes]:
        kept.append(parts())
        return kept[-1]  # type: ignore[no-any-return]

    keeping = wrap(streaming(keep))
    profiler.start()
    found: dict[str, set[str | None]] = {"parts": set(), "others": set()}

    def sampled() -> bool:
        for app, path in ((wrapped, "/users/42"), (past, "/orders/7"), (keeping, "/users/43"), (past, "/orders/8")):
            send(app, path)
        for name, functions, _ in named_stacks(profile_of(profiler)):
            for function in functions & found.keys():
                found[function].add(name)
        return all(found.values())

    wait_until(sampled, "samples of both")
    assert found == {"parts": {"GET /users/<int>"}, "others": {"GET /orders/<int>"}}


def test_nothing_of_a_streamed_request_is_kept_beyond_its_end(profiler: CpuProfiler) -> None:
    class Thing:
        """What can be watched."""

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            return parts()

    alive: list[Any] = []

    def make() -> Iterable[bytes]:
        body = Body()
        alive.append(weakref.ref(body))
        return body

    wrapped = wrap(streaming(make))
    profiler.start()

    def sampled() -> set[str | None]:
        thing = Thing()
        alive.append(weakref.ref(thing))
        gc.disable()
        try:
            send(wrapped, "/users/42", thing=thing)
            del thing
            # The sampler in Python may just be looking at it.
            wait_until(lambda: not any(each() for each in alive), "the end of both without a collection")
        finally:
            gc.enable()
        return requests_of(profiler, "parts")

    wait_until(sampled, "a sample of the body")


def test_streams_of_our_own_have_no_name() -> None:
    wrap(nap)
    environ = environ_of()
    assert Streamed(map(environ.get, TOLD)).name == "GET /users/<int>"
    assert Streamed(map(environ_of("/__rbkit__/").get, TOLD)).name is None
    ours = environ_of(HTTP_UPGRADE="websocket", HTTP_SEC_WEBSOCKET_PROTOCOL="rbkit")
    assert Streamed(map(ours.get, TOLD)).name is None


class Trap(dict[str, Any]):
    """One whose methods nobody may call."""

    __getitem__ = __contains__ = get = __eq__ = None  # type: ignore[assignment]


class Hidden:
    """Has no attributes of its own."""

    __slots__ = ("environ", "result")


class Guarded:
    """Has properties, which nobody may ask."""

    @property
    def environ(self) -> Any:
        raise AssertionError

    result = environ


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        (None, None),
        ([], None),
        ({}, "? /"),
        ({"PATH_INFO": 5, "REQUEST_METHOD": object()}, "? /"),
        ({b"PATH_INFO": 1, 2: 3, "PATH_INFO": "/x", "REQUEST_METHOD": "GET"}, "GET /x"),
        (Trap(environ_of()), "GET /users/<int>"),
        ({**environ_of(), "HTTP_UPGRADE": [], "rbkit.route": Odd("/")}, "GET /users/<int>"),
    ],
)
def test_a_server_may_have_any_environ(
    profiler: CpuProfiler, monkeypatch: pytest.MonkeyPatch, environ: Any, name: str | None
) -> None:
    serve_with(monkeypatch, "environ", "body")
    wrap(nap)
    profiler.start()
    assert wait_until(lambda: served_by(profiler, environ, True), "a sample") == {name}


def test_a_server_that_has_no_body_yet_is_no_request(profiler: CpuProfiler, monkeypatch: pytest.MonkeyPatch) -> None:
    serve_with(monkeypatch, "environ", "body")
    wrap(nap)
    profiler.start()
    assert wait_until(lambda: served_by(profiler, environ_of(), None), "a sample") == {None}


@pytest.mark.parametrize(
    "thing", [None, 5, Hidden(), Guarded(), Guarded, object()], ids=str.split("none int hidden guarded class bare")
)
def test_a_server_may_be_anything(profiler: CpuProfiler, monkeypatch: pytest.MonkeyPatch, thing: Any) -> None:
    serve_with(monkeypatch, "environ.environ", "body.result")
    wrap(nap)
    profiler.start()
    assert wait_until(lambda: served_by(profiler, thing, thing), "a sample") == {None}


def pretended_server(environ: Any, body: Any) -> None:
    """A server's function."""
    spin(0.03)


def serve_with(monkeypatch: pytest.MonkeyPatch, environ: str, body: str) -> None:
    servers = REQUESTS.servers
    monkeypatch.setattr(servers, "_kept", [*servers._kept, pretended_server.__code__])
    monkeypatch.setattr(servers, "codes", {**servers.codes, id(pretended_server.__code__): _Where(environ, body)})


def served_by(profiler: CpuProfiler, environ: Any, body: Any) -> set[str | None]:
    pretended_server(environ, body)
    return requests_of(profiler, "pretended_server")


def test_names_of_streams_can_be_switched_off(profiler: CpuProfiler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(REQUESTS, "marker", None)
    wrapped = wrap(streaming(parts), request_names=False)
    profiler.start()

    def sampled() -> set[str | None]:
        send(wrapped, "/users/42")
        return requests_of(profiler, "parts")

    assert wait_until(sampled, "a sample of the body") == {None}


def test_names_can_be_switched_off(profiler: CpuProfiler, monkeypatch: pytest.MonkeyPatch) -> None:
    frames: list[Any] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        frames.append(REQUESTS.name_of_stack(sys._getframe()))
        return nap(environ, start_response)

    monkeypatch.setenv("RBKIT_REQUEST_NAMES", "0")
    wrapped = wrap(app)
    profiler.start()
    wrapped(environ_of(), None)
    assert names_of(profile_of(profiler)) == {None}
    assert set(frames) == {None}


def test_samples_of_many_requests_of_one_name_are_one_sum(profiler: CpuProfiler) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] != "/first":
            time.sleep(0.02)
        return []

    wrapped = wrap(app)
    profiler.start()
    for number in range(12):
        wrapped(environ_of(f"/{'users' if number % 2 else 'orders'}/{number}"), None)
    profile = profile_of(profiler)
    keys = [(stack["request"], tuple(stack["frames"]), stack["thread"]) for stack in profile["stacks"]]
    assert len(keys) == len(set(keys))
    assert names_of(profile) - {None} == {"GET /users/<int>", "GET /orders/<int>"}
    assert not REQUESTS.running


def test_the_middleware_may_come_after_the_profiler(profiler: CpuProfiler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(REQUESTS, "marker", None)
    profiler.start()
    wrapped = wrap(nap)
    wait_until(lambda: list(profiler.drain(True)), "a sample")

    def named() -> bool:
        wrapped(environ_of(), None)
        return "GET /users/<int>" in names_of(profile_of(profiler))

    wait_until(named, "a sample of a request")


def test_our_own_sessions_are_no_requests() -> None:
    found: list[Any] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        found.append(REQUESTS.name_of_stack(sys._getframe()))
        return []

    wrapped = wrap(app)
    wrapped(environ_of("/chat", HTTP_UPGRADE="websocket"), None)
    assert found == ["GET /first", "GET /chat"]
    ours = environ_of(HTTP_UPGRADE="websocket", HTTP_SEC_WEBSOCKET_PROTOCOL="rbkit")
    assert REQUESTS._ignored(ours)


def test_a_request_is_found_below_a_deep_recursion(profiler: CpuProfiler) -> None:
    def deep(levels: int) -> None:
        if levels:
            deep(levels - 1)
        else:
            time.sleep(0.05)

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        deep(500)
        return []

    wrapped = RbkitWebsocket(app, **ENDPOINTS)
    wrapped(environ_of(), None)
    profiler.start()

    def named() -> bool:
        wrapped(environ_of(), None)
        return "GET /users/<int>" in names_of(profile_of(profiler))

    wait_until(named, "a sample of a request")


def test_requests_that_end_while_they_are_sampled_leave_nothing(profiler: CpuProfiler) -> None:
    """at() runs in the sampler's thread, and the interpreter may change threads at any point of it."""
    wrapped = wrap(lambda environ, start_response: [])
    profiler.start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    ended: list[bool] = []

    def sample() -> None:
        while not ended:
            for frame in sys._current_frames().values():
                walk(frame)

    thread = threading.Thread(target=sample)
    try:
        thread.start()
        until = time.monotonic() + 1
        while time.monotonic() < until:
            wrapped(environ_of(), None)
    finally:
        sys.setswitchinterval(interval)
        ended.append(True)
        thread.join()
    assert not REQUESTS.running


def test_a_forked_child_starts_afresh() -> None:
    wrapped = wrap(nap)
    REQUESTS.want(wrapped, True)
    REQUESTS.running[1] = Request(environ_of(), REQUESTS.names)
    REQUESTS.forget()
    assert not REQUESTS.tracking
    assert not REQUESTS.running
    middleware._restart_after_fork()
    wrapped(environ_of("/first"), None)


def test_a_route_has_one_name_before_and_after_routing() -> None:
    table = RequestNames()
    before = {"REQUEST_METHOD": "GET", "PATH_INFO": "/users/42"}
    assert table.of(before) == "GET /users/<int>"
    routed = {**before, "PATH_INFO": "/users/7", "rbkit.route": "/users/<int:user>"}
    assert table.of(routed) == "GET /users/<int:user>"
    # From now on, and for what was noted earlier.
    assert table.of(before) == table.of({**before, "PATH_INFO": "/users/9"}) == "GET /users/<int:user>"
    assert table.settled("GET /users/<int>") == "GET /users/<int:user>"
    assert table.of({**before, "REQUEST_METHOD": "POST"}) == "POST /users/<int>"


def test_a_path_that_two_routes_share_keeps_its_own_name() -> None:
    table = RequestNames()
    for path, route in (("/a/1", "/a/<int:one>"), ("/a/2", "/a/<int:other>")):
        assert table.of({"REQUEST_METHOD": "GET", "PATH_INFO": path, "rbkit.route": route}) == f"GET {route}"
    assert table.of({"REQUEST_METHOD": "GET", "PATH_INFO": "/a/3"}) == "GET /a/<int>"


def test_what_is_learnt_of_routes_is_bounded() -> None:
    table = RequestNames()
    for number in range(50_000):
        path = f"/x{number}-abc/{number}"
        table.of({"REQUEST_METHOD": "GET", "PATH_INFO": path, "rbkit.route": "/<name>/<int:number>"})
    assert len(table._learnt) <= 20 * request_names.MAX_NAMES + 1
    assert len(table._routes) <= 20 * request_names.MAX_NAMES + 1
