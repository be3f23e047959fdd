"""Wishes of clients, each for itself: one client's wish does not undo another's, and goes with its client."""

from __future__ import annotations

from typing import Final, Generic, TypeVar

from ..system.clock import time

__all__ = ["Wishes"]

# A client with more connections than this, and a wish on each, loses the oldest wishes.
_MAX_CLIENTS: Final = 1000

T = TypeVar("T")


class _Wish(Generic[T]):
    __slots__ = ("polls", "seen", "value")

    def __init__(self, value: T) -> None:
        self.value = value
        self.seen = time.monotonic()
        self.polls = False


class Wishes(Generic[T]):
    """One wish a client.

    A client that says goodbye takes its wish with it; a session of the bridge always does. The end of another client is
    known by its silence: if it has polled, after ``linger`` seconds without a command. A client that only listens sends
    none, so its wish is in force while there is a subscriber.

    Args:
        linger: seconds.
    """

    def __init__(self, linger: float) -> None:
        self._linger = linger
        self._wishes: dict[str | None, _Wish[T]] = {}

    def make(self, client: str | None, value: T) -> None:
        """Sets a wish. Client None is the application itself, whose wish lasts until it is dropped."""
        before = self._wishes.pop(client, None)
        self._wishes[client] = wish = _Wish(value)
        wish.polls = before is not None and before.polls
        if len(self._wishes) > _MAX_CLIENTS:
            del self._wishes[next(iter(self._wishes))]

    def drop(self, client: str | None) -> None:
        """Drops a wish, if there is one."""
        self._wishes.pop(client, None)

    def sign_of(self, client: str, polls: bool) -> bool:
        """Notes that a client is there, and returns whether it has a wish.

        Args:
            client: its name.
            polls: whether it will send further commands, so that its silence means its end.
        """
        wish = self._wishes.get(client)
        if wish is None:
            return False
        wish.seen = time.monotonic()
        wish.polls |= polls
        return True

    def in_force(self, audience: bool) -> list[T]:
        """The wishes of present clients. A client that was silent is present again with its next command.

        Args:
            audience: whether there is a subscriber.
        """
        latest = time.monotonic() - self._linger
        return [
            wish.value
            for client, wish in self._wishes.items()
            if client is None or wish.seen >= latest or (audience and not wish.polls)
        ]
