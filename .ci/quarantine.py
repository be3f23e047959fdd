"""Whether the tests that have just failed may be tried once more: ``python .ci/quarantine.py``, in the checkout.

Reads pytest's list of the last failures and ``tests/quarantine.txt``. Prints how many of them are in quarantine. Exits
with 1 and names the others if there are any.
"""

from __future__ import annotations

import json
import sys
from datetime import date
from pathlib import Path
from typing import NamedTuple

QUARANTINE = Path(__file__).resolve().parent.parent / "tests" / "quarantine.txt"
MOST = 10
"""How many tests may be in quarantine."""


class Entry(NamedTuple):
    """A test that may be tried once more, and since when and why."""

    test: str
    since: date
    reason: str


def read(text: str) -> list[Entry]:
    """The entries of the file: one a line, ``TEST | DATE | REASON``; empty lines and those with ``#`` are none.

    Raises:
        ValueError: a line is no entry, or there are more than :data:`MOST`.
    """
    entries = []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        parts = [part.strip() for part in line.split("|", 2)]
        if len(parts) != 3 or not all(parts):
            raise ValueError(f"not 'TEST | DATE | REASON': {line}")
        entries.append(Entry(parts[0], date.fromisoformat(parts[1]), parts[2]))
    if len(entries) > MOST:
        raise ValueError(f"{len(entries)} tests are in quarantine, at most {MOST} may be: mend one first")
    return entries


def judge(failed: list[str], entries: list[Entry]) -> list[str]:
    """Those of the failed tests, whatever their parameters, that are not in quarantine."""
    known = {entry.test for entry in entries}
    return [test for test in failed if test.partition("[")[0] not in known]


def main() -> int:
    try:
        failed = list(json.loads(Path(".pytest_cache/v/cache/lastfailed").read_text()))
    except FileNotFoundError:
        failed = []
    if not failed:
        print("No test is known to have failed, but the run did: nothing is tried again.", file=sys.stderr)
        return 1
    entries = read(QUARANTINE.read_text())
    if others := judge(failed, entries):
        print("Failed, and not in quarantine:", *others, sep="\n  ", file=sys.stderr)
        return 1
    count = f"{len(failed)} that failed are in quarantine, which has {len(entries)} of at most {MOST}."
    print(f"{count} Once more, by itself:")
    return 0


if __name__ == "__main__":
    sys.exit(main())
