"""Adds up what ``covered_lines`` has told: ``python .ci/add_coverage.py FOLDER``, in the checkout, makes ``.coverage``.

``coverage report`` does the rest, with every file of the package, whether a line of it has run or not.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from coverage import CoverageData

PACKAGE = "rbkit_websocket"


def main(folder: Path) -> int:
    """Writes the data file; 1 if no process has told anything."""
    found: dict[str, set[int]] = {str(path.resolve()): set() for path in Path(PACKAGE).rglob("*.py")}
    told = list(folder.glob("*.json"))
    for one in told:
        for path, lines in json.loads(one.read_text()).items():
            # Where it is installed, it has the sources of this checkout.
            _, _, name = path.rpartition(f"/{PACKAGE}/")
            found[str(Path(PACKAGE, name).resolve())].update(lines)
    data = CoverageData()
    data.erase()
    data.add_lines(found)
    data.write()
    print(f"{len(told)} processes have told which lines of {len(found)} files have run.")
    return 0 if told else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
