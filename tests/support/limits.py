"""Descriptors and threads of another process, as few as a test wants."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.error import HTTPError

from websockets.exceptions import ConnectionClosed, InvalidStatus


def open_descriptors(pid: int) -> set[int]:
    """Numbers of the descriptors that a process has open."""
    return {int(name) for name in os.listdir(f"/proc/{pid}/fd")}


@contextmanager
def descriptors_left(pid: int, count: int) -> Iterator[None]:
    """Lets a process open ``count`` more descriptors, and as many as it likes afterwards."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used, number = open_descriptors(pid), 0
    while count or number in used:
        count -= number not in used
        number += 1
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (number, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def answer_or_refusal(ask: Callable[[], Any], words: Sequence[str]) -> str:
    """What is answered, or the refusal, which has to have one of the words."""
    try:
        return str(ask())
    except HTTPError as error:
        with error:
            text = f"{error.code} {error.read().decode()}"
    except ConnectionClosed as error:
        text = str(error)
    except InvalidStatus as error:
        text = f"{error} {(error.response.body or b'').decode()}"
    assert any(word in text for word in words), text
    return text
