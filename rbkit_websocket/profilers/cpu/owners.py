"""The receiver of a function: a class or module (Ruby's singleton methods), or an instance.

The function's module and class tell it; no application code runs.
"""

from __future__ import annotations

import sys
from types import CodeType, ModuleType
from typing import Any, Final

__all__ = ["called_on_owner"]

_namespace = type.__dict__["__dict__"].__get__
# Python makes functions of these names class methods or static ones.
_BY_NAME: Final = frozenset({"__new__", "__init_subclass__", "__class_getitem__"})
_modules: dict[str, ModuleType] = {}
_seen = 0


def called_on_owner(code: CodeType) -> bool:
    """Whether this is the code of a function of a module, or of a class method or static method of a class."""
    *owners, name = code.co_qualname.split(".")
    if name.startswith("<") or owners[-1:] == ["<locals>"]:
        return False
    found: Any = _module_of(code.co_filename)
    for owner in owners:
        found = _member(found, owner)
    member = _member(found, name)
    if member is not None:
        return _is(found, ModuleType) or name in _BY_NAME or _is(member, (classmethod, staticmethod))
    # Defined in a function, in a module that has gone, or under another name: the argument's name is a good guess.
    return bool(code.co_argcount) and code.co_varnames[0] == "cls"


def _member(owner: Any, name: str) -> Any:
    if _is(owner, ModuleType):
        return ModuleType.__getattribute__(owner, "__dict__").get(name)
    return _namespace(owner).get(name) if _is(owner, type) else None


def _is(thing: object, kind: Any) -> bool:
    """isinstance() without a look at ``__class__``, which a metaclass may answer."""
    return issubclass(type(thing), kind)


def _module_of(file: str) -> ModuleType | None:
    global _seen
    if len(sys.modules) != _seen:
        loaded = list(sys.modules.values())
        _seen = len(loaded)
        for module in loaded:
            if _is(module, ModuleType):
                where = ModuleType.__getattribute__(module, "__dict__").get("__file__")
                if type(where) is str:
                    _modules.setdefault(where, module)
    return _modules.get(file)
