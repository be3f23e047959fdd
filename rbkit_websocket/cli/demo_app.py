"""The application that ``rbkit-websocket demo`` profiles: an ordinary Flask application with real work in it."""

from __future__ import annotations

import random
import time
from collections import Counter
from typing import Any, Final

import flask
import jinja2

__all__ = ["create_app"]

# Enough to grow for hours under the demo's load, with an end.
_LEAK_LIMIT: Final = 2_000_000

_REPORT: Final = """<!doctype html><title>Report</title>
<table>
{%- for row in rows %}
 <tr>{% for cell in row %}<td class="{{ "high" if cell > 900 else "low" }}">{{ cell | euro }}</td>{% endfor %}</tr>
{%- endfor %}
</table>"""

_INDEX: Final = """<!doctype html><title>rbkit demo</title>
<h1>What this application does</h1>
<ul>{% for path, words in pages %}<li><a href="{{ path }}">{{ path }}</a>: {{ words }}</li>{% endfor %}</ul>"""


class CartItem:
    """An object that the leaking view leaks."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.tags = [f"tag {number % 7}"]


def sieve(limit: int) -> list[int]:
    """The primes below ``limit``."""
    flags = [True] * limit
    flags[:2] = [False, False]
    for number in range(2, int(limit**0.5) + 1):
        if flags[number]:
            for multiple in range(number * number, limit, number):
                flags[multiple] = False
    return [number for number, prime in enumerate(flags) if prime]


def edit_distance(one: str, other: str) -> int:
    """Levenshtein's distance, the slow way."""
    previous = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        current = [i]
        for j, b in enumerate(other, 1):
            current.append(min(previous[j] + 1, current[j - 1] + 1, previous[j - 1] + (a != b)))
        previous = current
    return previous[-1]


def euro(cents: int) -> str:
    """An amount as a template filter writes it, digit by digit."""
    digits = ""
    for place, digit in enumerate(reversed(f"{cents:05d}")):
        digits = digit + ("," if place == 2 else "") + digits
    return digits + " €"


def _templates() -> jinja2.BaseLoader:
    sources = {"report.html": _REPORT, "index.html": _INDEX}

    def load(name: str) -> tuple[str, str, Any] | None:
        # The second item is the file that a profile shows for the template's code.
        return (sources[name], f"templates/{name}", lambda: True) if name in sources else None

    return jinja2.FunctionLoader(load)


def primes() -> dict[str, int]:
    """Counts primes: pure Python at work."""
    return {"primes": len(sieve(200_000))}


def distance() -> dict[str, int]:
    """Compares two random words letter by letter."""
    one, other = ("".join(random.choices("acgt", k=240)) for _ in range(2))  # noqa: S311 - no secret
    return {"distance": edit_distance(one, other)}


def report() -> str:
    """Renders a slow template."""
    rows = [[random.randrange(1000) for _ in range(12)] for _ in range(400)]  # noqa: S311 - no secret
    return flask.render_template("report.html", rows=rows)


def sleep() -> dict[str, float]:
    """Waits a quarter of a second, as for a database."""
    time.sleep(0.25)
    return {"slept": 0.25}


def index() -> str:
    """Lists the pages."""
    app = flask.current_app
    pages = [
        (rule.rule, (app.view_functions[rule.endpoint].__doc__ or "").partition("\n")[0])
        for rule in app.url_map.iter_rules()
    ]
    return flask.render_template("index.html", pages=sorted(pages))


def create_app() -> flask.Flask:
    """A new application; ``/stats`` (JSON) counts the requests of all other pages."""
    app = flask.Flask("rbkit_demo", static_folder=None)
    app.jinja_loader = _templates()
    app.jinja_env.filters["euro"] = euro
    for view in (primes, distance, report, sleep):
        app.get(f"/{view.__name__}")(view)
    app.get("/")(index)
    counts: Counter[str] = Counter()
    leaked: list[CartItem] = []

    @app.before_request
    def count() -> None:
        if flask.request.endpoint not in (None, "stats"):
            counts[flask.request.path] += 1

    @app.get("/leak")
    def leak() -> dict[str, int]:
        """Leaks a hundred objects with each request."""
        if len(leaked) < _LEAK_LIMIT:
            leaked.extend(CartItem(number) for number in range(100))
        return {"leaked": len(leaked)}

    @app.get("/stats")
    def stats() -> dict[str, Any]:
        """The number of requests of each page."""
        return {"requests": sum(counts.values()), "pages": dict(counts)}

    return app
