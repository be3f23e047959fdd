"""The table of commands: what it lets through, what it refuses in which words, and that each is done by somebody."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from support.shapes import check_answer

from rbkit_websocket.protocol.codec import unpack
from rbkit_websocket.protocol.commands import COMMANDS, EXTENSIONS, find
from rbkit_websocket.protocol.commands.command import Command, CommandError
from rbkit_websocket.server.dispatch import Call, Commands, failure
from rbkit_websocket.server.scheduler import Job
from rbkit_websocket.server.server import Server


def parse(text: str) -> tuple[Command | None, list[Any]]:
    """A command and its arguments as they are used."""
    command, texts = find(text)
    return command, command.check(texts) if command is not None else []


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        ("handshake", "handshake", []),
        ("  handshake  ", "handshake", []),
        ("cpu_profile", "cpu_profile", []),
        ("cpu_profile 7", "cpu_profile", [7]),
        ("cpu_profile 0000000000000000007", "cpu_profile", [7]),
        ("set_cpu_interval 100", "set_cpu_interval", [100]),
        ("set_cpu_interval 10000000", "set_cpu_interval", [10_000_000]),
        ("wait_profile off", "wait_profile", ["off"]),
        ("snapshot_chunk 3 0", "snapshot_chunk", [3, 0]),
        ("trace_objects", "trace_objects", []),
        ("trace_objects app.* a.<locals>.B", "trace_objects", ["app.*", "a.<locals>.B"]),
        ("", None, []),
        ("\0", None, []),
        ("no_such_command 1 2", None, []),
        ("trigger_gc now", None, []),
    ],
)
def test_what_is_understood(text: str, name: str | None, arguments: list[Any]) -> None:
    command, found = parse(text)
    assert (command.name if command else None, found) == (name, arguments)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stacks now", "stacks takes no argument"),
        ("cpu_events", "cpu_events takes one argument: the switch"),
        ("cpu_events maybe", "the switch is on or off, not 'maybe'"),
        ("cpu_profile 1 2", "cpu_profile takes at most one argument: the cursor of the last answer"),
        ("cpu_profile -1", "the cursor of the last answer is a whole number, not '-1'"),
        ("cpu_profile ٣", "the cursor of the last answer is a whole number, not '٣'"),
        ("cpu_profile 99999999999999999999", "the cursor of the last answer is a whole number, not"),
        ("set_cpu_interval 99", "the interval in microseconds is 100 to 10000000, not 99"),
        ("snapshot_chunk 1", "snapshot_chunk takes two arguments: the id that snapshot_start answered and the chunk's"),
        ("trace_objects " + "x " * 51, "trace_objects takes at most 50 arguments: a class or module like"),
        ("trace_objects ../x", "a pattern is a class or module like app.models.User or app.*, not '../x'"),
    ],
)
def test_what_cannot_be_is_refused_with_what_would_be(text: str, message: str) -> None:
    with pytest.raises(CommandError) as caught:
        parse(text)
    assert caught.value.code == "bad_argument"
    assert caught.value.message.startswith(message)


def test_every_command_says_what_it_does_and_the_page_tells_more() -> None:
    page = (Path(__file__).parents[2] / "docs" / "protocol.rst").read_text()
    told = set(re.findall(r"\.\. answer:: (\w+)", page)) & COMMANDS.keys()
    for command in COMMANDS.values():
        assert command.sentence[0].isupper()
        assert command.sentence.endswith(".")
        assert f"``{command.name}" in page
        kinds = {kind.__name__ for kind in command.answer}
        assert kinds <= {kind.__name__ for name in told for kind in COMMANDS[name].answer}
    assert not set(EXTENSIONS) & {name for name, command in COMMANDS.items() if command.native}


def test_a_command_is_registered_once_and_is_in_the_table() -> None:
    commands = Commands(lambda client, polls: None)
    commands.register({"stacks": lambda call: {}})
    for name in ("stacks", "no_such_command"):
        with pytest.raises(ValueError, match=name):
            commands.register({name: lambda call: {}})
    assert commands.missing() == COMMANDS.keys() - {"stacks"}


def test_each_command_of_the_table_is_done_by_a_feature() -> None:
    server = Server()
    server.start()
    try:
        assert server._commands.missing() == set()
    finally:
        server.stop()


def test_who_sent_a_command_and_whether_it_polls_is_known_before_it_is_done() -> None:
    signs: list[tuple[str, bool]] = []
    commands = Commands(lambda client, polls: signs.append((client, polls)))

    def profile(call: Call) -> dict[str, Any]:
        assert signs
        return {"client": call.client, "cursor": call.first}

    commands.register({"cpu_profile": profile})
    assert unpack(commands.answer("cpu_profile 4", "a")) == {"client": "a", "cursor": 4}
    assert unpack(commands.answer("cpu_profile")) == {"client": "", "cursor": None}
    assert unpack(commands.answer("cpu_profile x", "b"))["error"] == "bad_argument"
    assert commands.answer("anything else", "c") == b"ok"
    assert signs == [("a", True), ("", True), ("b", True), ("c", False)]


def test_an_error_has_one_form_wherever_it_comes_from() -> None:
    def refuse(call: Call) -> dict[str, Any]:
        raise CommandError("not_applicable", "no loop")

    def refuse_later(call: Call) -> Job:
        yield None
        raise CommandError("refused", "no room")

    commands = Commands(lambda client, polls: None)
    commands.register({"blocked": refuse, "snapshot_start": refuse_later})
    at_once = commands.answer("blocked")
    job = commands.answer("snapshot_start")
    assert not isinstance(job, bytes)
    assert next(job) is None
    with pytest.raises(StopIteration) as ended:
        next(job)
    answers = [at_once, commands.answer("blocked now"), ended.value.value, failure(ValueError("odd"))]
    for answer in answers:
        check_answer("error", answer)
    assert [unpack(answer)["error"] for answer in answers] == ["not_applicable", "bad_argument", "refused", "failed"]
    assert unpack(answers[-1])["message"] == "ValueError: odd"
