"""Who has to leave a gateway that is full."""

from __future__ import annotations

from rbkit_websocket.gateway.connections import Crowd


def test_nobody_leaves_while_there_is_room() -> None:
    crowd = Crowd(3)
    assert [crowd.enter(who, "10.0.0.1") for who in "abc"] == [None] * 3
    assert crowd.enter("a", "10.0.0.1") is None, "one that only moves takes no more room"
    assert len(crowd) == 3


def test_the_idle_leave_first() -> None:
    crowd = Crowd(3)
    for who in "abc":
        crowd.enter(who, "10.0.0.1")
    crowd.enter("a", "10.0.0.1")
    assert [crowd.enter(who, "10.0.0.1") for who in "def"] == ["b", "c", "a"]


def test_a_crowd_from_one_address_makes_room_for_the_others() -> None:
    crowd = Crowd(10)
    for who in range(3):
        crowd.enter(who, "10.0.0.1")
    for who in range(100, 200):
        assert crowd.enter(who, "10.6.6.6") not in range(3)
    assert crowd.enter("new", "10.0.0.2") in range(100, 200)
    assert [crowd.enter(who, "10.0.0.1") for who in range(3)] == [None] * 3
    assert len(crowd) == 10


def test_who_has_left_takes_no_room() -> None:
    crowd = Crowd(1)
    crowd.enter("a", "")
    crowd.leave("a")
    crowd.leave("a")
    assert crowd.enter("b", "") is None
