"""What the profilers of ``sampler.py`` have to look at, and the profilers that run inside the process they look at."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


def pure_python() -> Callable[[], object]:
    """Function calls, a dictionary, some numbers."""

    def leaf(number: int) -> int:
        return (number * 31) ^ (number >> 3)

    def middle(table: dict[int, int], number: int) -> int:
        table[number & 255] = leaf(number)
        return table[number & 255] + leaf(number + 1)

    def work() -> int:
        table: dict[int, int] = {}
        return sum(middle(table, number) for number in range(2000))

    return work


def flask_site() -> Any:
    """An application with one view for JSON and one for a page."""
    import flask

    app = flask.Flask("benchmark")
    rows = [{"id": number, "name": f"item {number}", "price": number / 7} for number in range(40)]
    page = "<ul>{% for row in rows %}<li>{{ row.id }}: {{ row.name }} {{ '%.2f' % row.price }}</li>{% endfor %}</ul>"
    app.add_url_rule("/json", "json", lambda: flask.jsonify(rows))
    app.add_url_rule("/page", "page", lambda: flask.render_template_string(page, rows=rows))
    return app


def flask_application() -> Callable[[], object]:
    """Both requests, without a web server."""
    client = flask_site().test_client()

    def work() -> None:
        for path in ("/json", "/page"):
            if client.get(path).status_code != 200:
                raise RuntimeError(path)

    return work


@contextmanager
def in_process(profiler: str) -> Iterator[None]:
    """cProfile or pyinstrument at 1 kHz in this thread; nothing with another name."""
    if profiler == "cProfile":
        import cProfile

        profile = cProfile.Profile()
        profile.enable()
        yield
        profile.disable()
    elif profiler == "pyinstrument":
        import pyinstrument

        instrument = pyinstrument.Profiler(interval=0.001, async_mode="disabled")
        instrument.start()
        yield
        instrument.stop()
    else:
        yield


def py_spy_path() -> str | None:
    """Of the py-spy beside this interpreter, or on the PATH."""
    return shutil.which("py-spy", path=os.path.dirname(sys.executable)) or shutil.which("py-spy")


def spy_on(pid: int) -> Callable[[], None]:
    """Has py-spy look at a process 1000 times a second; what it returns ends that."""
    command = [py_spy_path() or "py-spy", "record", "--rate", "1000", "--format", "raw", "-o", os.devnull]
    spy = subprocess.Popen([*command, "--pid", str(pid)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.5)
    if spy.poll() is not None:
        raise RuntimeError("py-spy may not trace processes here: run this as root, or with the capability SYS_PTRACE")

    def stop() -> None:
        spy.terminate()
        spy.wait()

    return stop
