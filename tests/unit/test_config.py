"""Options: keywords before environment before defaults, and every wrong value is named."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from rbkit_websocket.errors import ConfigurationError
from rbkit_websocket.options.switches import is_enabled
from rbkit_websocket.options.table import OPTIONS, Options, ServerOptions, Settings, Taker, default_name
from rbkit_websocket.options.values import check_port

ENDPOINTS = {"pub_endpoint": "tcp://10.0.0.1:5555", "req_endpoint": "tcp://10.0.0.1:5556"}


def always(environ: dict[str, Any]) -> bool:
    return True


def settings(environ: dict[str, str] | None = None, **options: Any) -> Settings:
    return Settings.from_options(environ or {}, **options)


def test_defaults() -> None:
    found = settings()
    assert found.embedded
    assert (found.token, found.authorize, found.allowed_origins) == (None, None, ())
    assert (found.mount, found.frames, found.command_timeout, found.max_sessions) == ("/__rbkit__", "binary", 60.0, 32)
    assert (found.max_commands, found.max_message, found.backlog) == (64, 65536, 64 * 1024 * 1024)
    assert found.max_server_message == 32 * 1024 * 1024
    assert (found.ping_interval, found.linger, found.snapshot_rate) == (15.0, 10.0, 20_000_000)
    assert found.name == default_name()


def test_settings_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings().token = "another-token"  # type: ignore[misc]


VALUES = {
    **ENDPOINTS,
    "name": "shop",
    "token": "0123456789",
    "mount": "/-/profile",
    "frames": "text",
    "command_timeout": 1.5,
    "connect_timeout": 0.5,
    "max_sessions": 2,
    "max_commands": 3,
    "max_message": 1000,
    "backlog": 1_000_000,
    "max_server_message": 100_000,
    "ping_interval": 0.5,
    "bind_host": "10.0.0.5",
    "insecure_bind": True,
    "curve_secret_key_file": "/etc/rbkit/shop.key_secret",
    "curve_authorized_keys_dir": "/etc/rbkit/clients",
    "curve_server_key_file": "/etc/rbkit/server.key",
    "linger": 0.0,
    "snapshot_rate": 1_000_000,
    "request_names": False,
    "blocked_log": 2.5,
    "snapshot_fork": False,
    "snapshot_pause": False,
    "runtime_dir": "/run/shop",
    "signal": 50,
}


@pytest.mark.parametrize("option", [option for option in VALUES if not option.endswith("endpoint")])
def test_every_option_has_an_environment_variable_that_a_keyword_overrides(option: str) -> None:
    value = VALUES[option]
    environ = {f"RBKIT_{option.upper()}": f" {value} "}
    assert getattr(settings(environ), option) == value
    other = dataclasses.replace(settings(), **{option: value})
    assert getattr(settings({f"RBKIT_{option.upper()}": "\0 nonsense"}, **{option: value}), option) == getattr(
        other, option
    )


def test_no_option_was_forgotten_here() -> None:
    known = {*VALUES, "authorize", "allowed_origins", "pub_port", "req_port"}
    assert {field.name for field in dataclasses.fields(Settings)} == {*known, "named", "module", "given"}


@pytest.mark.parametrize("option", sorted({*VALUES, "authorize", "allowed_origins"}))
def test_a_variable_that_is_set_but_empty_is_not_set(option: str) -> None:
    assert getattr(settings({f"RBKIT_{option.upper()}": "  "}), option) == getattr(settings(), option)


def test_endpoints_come_in_pairs() -> None:
    assert not settings(**ENDPOINTS).embedded
    assert settings({"RBKIT_PUB_ENDPOINT": "ipc:///a"}, req_endpoint="ipc:///b").pub_endpoint == "ipc:///a"
    for option, value in ENDPOINTS.items():
        with pytest.raises(ConfigurationError, match="go together"):
            settings(**{option: value})


def test_the_ports_of_start_server_are_not_the_middlewares() -> None:
    found = settings({"RBKIT_PUB_PORT": "5555", "RBKIT_REQ_PORT": "5556"})
    assert (found.pub_port, found.req_port) == (None, None)
    assert settings(pub_port=1024, req_port="65000").req_port == 65000


@pytest.mark.parametrize("port", [1023, 65001, 0, -1, True, 5555.0, "http", "", None, [], "5555.5"])
def test_wrong_ports_are_refused_in_the_protocols_words(port: Any) -> None:
    with pytest.raises(ConfigurationError, match="Invalid port value"):
        check_port(port)


@pytest.mark.parametrize("port", [1024, 65000, "5555"])
def test_good_ports(port: Any) -> None:
    assert check_port(port) == int(port)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("token", ""),
        ("token", "short"),
        ("token", "with a space"),
        ("token", "täglich-neu"),
        ("token", True),
        ("token", 12345678),
        ("frames", "base64"),
        ("mount", "/"),
        ("mount", "no-slash"),
        ("mount", "/with space"),
        ("mount", "/%2e"),
        ("mount", 7),
        ("name", "two\nlines"),
        ("name", "x" * 201),
        ("name", ""),
        ("name", 5),
        ("command_timeout", 0),
        ("command_timeout", "soon"),
        ("command_timeout", float("nan")),
        ("command_timeout", float("inf")),
        ("max_sessions", 0),
        ("max_sessions", True),
        ("max_sessions", "many"),
        ("max_message", 16 * 1024 * 1024 + 1),
        ("allowed_origins", ["https://a.example/path"]),
        ("allowed_origins", ["a.example"]),
        ("allowed_origins", [5]),
        ("allowed_origins", 5),
        ("runtime_dir", "relative/path"),
        ("runtime_dir", 5),
        ("authorize", 5),
        ("authorize", "no.such.module:thing"),
        ("authorize", "os:no_such_function"),
        ("authorize", "os"),
        ("authorize", ":thing"),
        ("authorize", ".relative:thing"),
        ("authorize", "os:sep"),
        ("pub_port", 80),
    ],
)
def test_a_wrong_value_is_refused_with_the_options_name(option: str, value: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        settings(**{option: value})
    assert option in str(caught.value)


@pytest.mark.parametrize("value", ["inproc://x", "tcp:127.0.0.1:1", "", "5555", "tcp:// x", b"tcp://x:1"])
def test_wrong_endpoints(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="pub_endpoint"):
        settings(pub_endpoint=value, req_endpoint="tcp://x:1")


def test_a_wrong_variable_is_named() -> None:
    with pytest.raises(ConfigurationError, match="RBKIT_MAX_SESSIONS"):
        settings({"RBKIT_MAX_SESSIONS": "many"})


@pytest.mark.parametrize("variable", [False, True])
def test_a_refused_token_is_not_printed(variable: bool) -> None:
    secret = "sécret1"
    with pytest.raises(ConfigurationError) as caught:
        settings({"RBKIT_TOKEN": secret}) if variable else settings(token=secret)
    assert secret not in str(caught.value)


def test_an_unknown_option_is_a_type_error_that_says_what_may_be_meant() -> None:
    with pytest.raises(TypeError, match="there is no option max_session; max_sessions is meant"):
        settings(max_session=3)
    with pytest.raises(TypeError, match=r"there is no option colour$"):
        settings(colour="red")
    with pytest.raises(TypeError, match="mount is no option of the embedded server"):
        Settings.from_options({}, Taker.SERVER, mount="/x")


@pytest.mark.parametrize("taker", Taker)
def test_each_takes_what_the_table_says(taker: Taker) -> None:
    for name, option in OPTIONS.items():
        if name in VALUES:
            pairs = ENDPOINTS if name in ENDPOINTS else {name: VALUES[name]}
            if taker in option.takers:
                assert name in Settings.from_options({}, taker, **pairs).given
            else:
                with pytest.raises(TypeError, match="no option of the"):
                    Settings.from_options({}, taker, **pairs)


@pytest.mark.parametrize("taker", Taker)
def test_variables_of_others_are_not_looked_at(taker: Taker) -> None:
    foreign = {
        str(option.variable): "\0 nonsense"
        for option in OPTIONS.values()
        if option.variable and taker not in option.takers
    }
    assert Settings.from_options(foreign, taker).given == frozenset()


def test_what_can_be_given_is_what_the_table_has() -> None:
    assert set(get_type_hints(Options)) == set(OPTIONS)
    assert set(get_type_hints(ServerOptions)) == {
        name for name, option in OPTIONS.items() if Taker.SERVER in option.takers
    }


def test_every_option_says_what_it_is_for() -> None:
    for option in OPTIONS.values():
        assert option.sentence[0].isupper()
        assert option.sentence.endswith(".")
    page = (Path(__file__).parents[2] / "docs" / "options.rst").read_text()
    assert not [name for name in OPTIONS if f"``{name}``" not in page], "the page tells more of each"


@pytest.mark.parametrize("value", [False, "false", "0", "OFF", "no"])
def test_no_token_at_all_takes_an_explicit_word(value: Any) -> None:
    assert settings(token=value).token is False


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("https://Ops.example.com, http://localhost:8080", ("https://ops.example.com", "http://localhost:8080")),
        (["https://a.example"], ("https://a.example",)),
        ("*", ("*",)),
        (("null",), ("null",)),
        ((), ()),
    ],
)
def test_origins(value: Any, expected: tuple[str, ...]) -> None:
    assert settings(allowed_origins=value).allowed_origins == expected


def test_authorize_may_be_named() -> None:
    assert settings({"RBKIT_AUTHORIZE": "os.path:exists"}).authorize is os.path.exists
    assert settings(authorize=always).authorize is always


def test_a_mount_loses_its_trailing_slash() -> None:
    assert settings(mount="/a/b/").mount == "/a/b"


def test_a_runtime_directory_may_be_a_path_object(tmp_path: Path) -> None:
    assert settings(runtime_dir=tmp_path).runtime_dir == str(tmp_path)
    assert settings(runtime_dir=os.fsencode(tmp_path)).runtime_dir == str(tmp_path)


@pytest.mark.parametrize("value", ["0", "false", "No", " off "])
def test_disabled(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RBKIT_ENABLED", value)
    assert not is_enabled()


@pytest.mark.parametrize("value", ["", "1", "true", "yes"])
def test_enabled(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RBKIT_ENABLED", value)
    assert is_enabled()
    monkeypatch.delenv("RBKIT_ENABLED")
    assert is_enabled()


def test_the_default_name_follows_command_line_and_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    here = default_name()
    assert here == default_name()
    monkeypatch.setattr(sys, "orig_argv", ["gunicorn", "other:app", "\udcff"])
    other = default_name()
    monkeypatch.chdir(tmp_path)
    assert len({here, other, default_name()}) == 3


def test_a_default_name_is_found_in_a_directory_that_is_gone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gone = tmp_path / "release"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert default_name() == default_name()
