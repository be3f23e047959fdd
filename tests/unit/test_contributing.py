"""What newcomers are told is there: files that are named, modules that documentation has users import."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = sorted(
    {
        name
        for name in re.findall(r"``([\w.-]+(?:/[\w.-]+)+/?)``", (ROOT / "CONTRIBUTING.rst").read_text())
        if not name.startswith("support.")
    }
)
PATHS = (
    "rbkit_websocket:RbkitWebsocket",
    "rbkit_websocket:close_sessions",
    "rbkit_websocket:connect",
    "rbkit_websocket:ensure_started",
    "rbkit_websocket:start_profiling",
    "rbkit_websocket:start_server",
    "rbkit_websocket:stop_server",
    "rbkit_websocket.client:Client",
    "rbkit_websocket.errors:RbkitError",
    "rbkit_websocket.model:ClassTotal",
    "rbkit_websocket.model:Growth",
    "rbkit_websocket.model:Heap",
    "rbkit_websocket.model:HeapObject",
    "rbkit_websocket.model:diff",
    "rbkit_websocket.protocol.constants:EventType",
    "rbkit_websocket.protocol.messages:Event",
    "rbkit_websocket.routes:DjangoRoute",
    "rbkit_websocket.routes:FalconRoute",
    "rbkit_websocket.routes:bottle_route",
    "rbkit_websocket.routes:flask_route",
    "rbkit_websocket.routes:pyramid_route",
)
"""What documentation has users import, by module and name: it does not move."""


def test_questions_are_answered() -> None:
    assert len(NAMED) > 20


@pytest.mark.parametrize("name", NAMED)
def test_what_contributors_are_sent_to_is_there(name: str) -> None:
    assert (ROOT / name).exists()


@pytest.mark.smoke
@pytest.mark.parametrize("path", PATHS)
def test_what_users_import_stays_where_it_is(path: str) -> None:
    module, _, name = path.partition(":")
    assert getattr(import_module(module), name) is not None


def imported_in_documents() -> set[str]:
    found = set()
    documents = [ROOT / "README.rst", *(ROOT / "docs").rglob("*.rst")]
    for document in documents:
        for module, names in re.findall(
            r"^ *from (rbkit_websocket[\w.]*) import ([\w, ]+)$", document.read_text(), re.MULTILINE
        ):
            found |= {f"{module}:{name.strip()}" for name in names.split(",")}
    return found


def test_the_list_has_everything_that_documents_import() -> None:
    assert imported_in_documents() <= set(PATHS)
