"""Objects of an application that notices whoever runs its code: none of it may run when a heap is looked at."""

from __future__ import annotations

from typing import Any, ClassVar


class Forbidden(type):
    """A metaclass that notices whoever asks its classes anything."""

    asked: ClassVar[list[str]] = []

    def __getattribute__(cls, name: str) -> Any:
        Forbidden.asked.append(name)
        return super().__getattribute__(name)

    def __hash__(cls) -> int:
        Forbidden.asked.append("hash")
        return super().__hash__()

    def __eq__(cls, other: object) -> bool:
        Forbidden.asked.append("eq")
        return cls is other

    def __instancecheck__(cls, instance: object) -> bool:
        Forbidden.asked.append("instancecheck")
        return False


class Touchy(metaclass=Forbidden):
    """Notices every attempt to run its code."""

    def __getattribute__(self, name: str) -> Any:
        Forbidden.asked.append(name)
        return super().__getattribute__(name)

    @property
    def __class__(self) -> Any:
        Forbidden.asked.append("class")
        return int

    def __sizeof__(self) -> int:
        Forbidden.asked.append("sizeof")
        return 1

    def __len__(self) -> int:
        Forbidden.asked.append("len")
        return 1

    def __del__(self) -> None:
        Forbidden.asked.append("del")


class EvilKey:
    """A key of a namespace that pretends to be another one."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __hash__(self) -> int:
        return hash(self.name)

    def __eq__(self, other: object) -> bool:
        Forbidden.asked.append(f"key {self.name}")
        return False
