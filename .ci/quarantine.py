"""Whether the tests that have just failed may be tried once more: ``python .ci/quarantine.py``, in the checkout.

Reads pytest's list of the last failures and ``tests/quarantine.txt``. Prints how many of them are in quarantine, and
names the others: each is a debt, to be mended or put there. Exits with 1 if there are more of them than :data:`OTHERS`.
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
OTHERS = 3
"""How many more may be tried again after one run of pytest. Real servers on few processors: of 5800 tests one or two
fail by chance in most runs, and seldom the same ones. To be lowered to 0."""


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
        head = f"Failed, and not in quarantine, {len(others)} of at most {OTHERS}:"
        print(head, *others, sep="\n  ", file=sys.stderr)
    if len(others) > OTHERS:
        return 1
    listed = len(failed) - len(others)
    print(f"{listed} that failed are in quarantine, which has {len(entries)} of at most {MOST}. Once more, by itself:")
    return 0


if __name__ == "__main__":
    sys.exit(main())
