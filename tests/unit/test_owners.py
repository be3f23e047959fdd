"""What a function is called on, told from its code alone."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from rbkit_websocket.profilers.cpu.owners import called_on_owner


class Nosy(type):
    def __getattribute__(cls, name: str) -> Any:
        raise AssertionError(name)


class Shop:
    def __init__(self) -> None:
        pass

    def __new__(cls) -> Shop:
        return super().__new__(cls)

    def sell(self) -> None:
        pass

    @classmethod
    def open(cls) -> None:
        pass

    @staticmethod
    def tax(amount: int) -> int:
        return amount

    class Till:
        @staticmethod
        def count() -> None:
            pass

    @property
    def closed(self) -> bool:
        return False


class Hidden(metaclass=Nosy):
    @staticmethod
    def still() -> None:
        pass


def plain() -> Callable[[], None]:
    def inner() -> None:
        pass

    return inner


@functools.cache
def decorated() -> None:
    pass


def local() -> type:
    class Local:
        @classmethod
        def make(cls) -> None:
            pass

        def use(self) -> None:
            pass

    return Local


OWN = type.__getattribute__


@pytest.mark.parametrize(
    ("function", "answer"),
    [
        (plain, True),
        (decorated.__wrapped__, True),
        (Shop.__new__, True),
        (Shop.open.__func__, True),  # type: ignore[attr-defined]
        (Shop.tax, True),
        (Shop.Till.count, True),
        (OWN(Hidden, "still"), True),
        (Shop.__init__, False),
        (Shop.sell, False),
        (Shop.closed.fget, False),  # type: ignore[attr-defined]
        (plain(), False),
        (lambda: None, False),
        (local().make.__func__, True),  # type: ignore[attr-defined]
        (local().use, False),
    ],
)
def test_functions_of_modules_and_classes_are_told_from_those_of_instances(function: Any, answer: bool) -> None:
    assert called_on_owner(function.__code__) is answer


def test_code_of_no_module_that_is_loaded_is_judged_by_its_first_argument() -> None:
    namespace: dict[str, Any] = {}
    exec(compile("def make(cls): pass\ndef use(self): pass\ndef run(): pass", "<nowhere>", "exec"), namespace)
    assert [called_on_owner(namespace[name].__code__) for name in ("make", "use", "run")] == [True, False, False]
