"""Names the running program, for people. An embedding program may have no ``sys.argv`` and no interpreter."""

from __future__ import annotations

import os
import re
import signal
import sys
from typing import Final

from .environment import variable

__all__ = ["command_line", "process_name", "title"]

_LONGEST: Final = 100
# module:attribute, called or not; neither an address nor a path.
_TARGET: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*(\(.*\))?")


def command_line() -> list[str]:
    """The arguments that the interpreter was started with; empty where a program has embedded it."""
    return _texts("orig_argv")


def process_name() -> str:
    """The name of the script, or of the package that ``python -m`` ran; without either the interpreter's."""
    script = (_texts("argv") or [""])[0]
    name = os.path.basename(script)
    if name == "__main__.py":
        name = os.path.basename(os.path.dirname(script))
    if name in ("", "-", "-c", "-m"):
        executable = getattr(sys, "executable", None)
        name = os.path.basename(executable if isinstance(executable, str) else "")
    return name or "python"


def _texts(name: str) -> list[str]:
    found = getattr(sys, name, None)
    return [text for text in found if isinstance(text, str)] if isinstance(found, list) else []


def title(module: str = "") -> str:
    """A title for an application without a name: the target on its server's command line.

    Args:
        module: where the application was wrapped, for servers that tell nothing.

    Returns:
        ``shop:app``, ``shop.wsgi``, ``manage.py runserver``, ``app.py``; text that can be printed.
    """
    found = _gunicorn() or _uwsgi() or _command() or ("" if module == "__main__" else module) or process_name()
    return "".join(char for char in found if char.isprintable())[:_LONGEST] or "python"


def _gunicorn() -> str:
    """gunicorn's process name: the one that was set, else its target, wherever that was given."""
    config = getattr(sys.modules.get("gunicorn.config"), "Config", None)
    # Of the master and of workers the handler is a method.
    owner = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    found = getattr(owner, "cfg", None)
    if config is None or not isinstance(found, config):
        return ""
    return found.proc_name if found.proc_name != "gunicorn" else ""


def _uwsgi() -> str:
    options = getattr(sys.modules.get("uwsgi"), "opt", None)
    if not isinstance(options, dict):
        return ""
    for name in ("module", "wsgi", "wsgi-file", "file", "mount"):
        value = options.get(name, options.get(name.encode()))
        value = value[0] if isinstance(value, list) and value else value
        if isinstance(value, bytes):
            value = os.fsdecode(value)
        if isinstance(value, str):
            return os.path.basename(value)
    return ""


def _command() -> str:
    """The target on the command line."""
    script, *arguments = _texts("argv") or [""]
    name = os.path.basename(script)
    if name == "manage.py" or name.startswith("django-admin"):
        return " ".join([name, *[word for word in arguments if not word.startswith("-")][:1]])
    module = getattr(getattr(sys.modules.get("__main__"), "__spec__", None), "name", None)
    if module is not None:  # python -m
        module = str(module).removesuffix(".__main__")
    elif name.endswith(".py"):
        return name
    program = module or name
    if program == "flask":
        return _flask(arguments)
    # Some options take such a word too; the application comes last.
    targets = [word for word in arguments if _TARGET.fullmatch(word)]
    return targets[-1] if targets else "" if program in ("", "-c", "-", "mod_wsgi") else program


def _flask(arguments: list[str]) -> str:
    app = variable("FLASK_APP") or ""
    for word, behind in zip(arguments, [*arguments[1:], ""], strict=True):
        if word in ("--app", "-A"):
            app = behind
        elif word.startswith("--app="):
            app = word.partition("=")[2]
    return os.path.basename(app) or "flask run"
