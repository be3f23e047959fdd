"""What a release says of itself where nobody has the checkout: README.rst on a registry's page, and addresses."""

from __future__ import annotations

import re
import runpy
import shutil
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
REPOSITORY = "https://example.org/somebody/rbkit_websocket"

release: dict[str, Any] = runpy.run_path(str(ROOT / "tools" / "distributions.py"))
checks: dict[str, Any] = runpy.run_path(str(ROOT / ".ci" / "check_dist.py"))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A checkout, as far as README.rst leads."""
    for name in ("README.rst", "CONTRIBUTING.rst", "SECURITY.rst", "setup.cfg"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    return tmp_path


def test_no_link_of_a_release_is_relative(source: Path) -> None:
    relative = [word for word in checks["wrong_links"]((source / "README.rst").read_text()) if "is relative" in word]
    assert len(relative) > 5
    release["tell_addresses"](source, REPOSITORY, "v1.2.3")
    text = (source / "README.rst").read_text()
    assert [word for word in checks["wrong_links"](text) if "is relative" in word] == []
    assert f".. image:: {REPOSITORY}/raw/v1.2.3/docs/dashboard-cpu.png\n" in text
    assert f"`dashboard <{REPOSITORY}/blob/v1.2.3/docs/dashboard.rst>`__" in text
    assert text.count(f"{REPOSITORY}/") == len(relative)


def test_a_release_tells_where_its_changes_are(source: Path) -> None:
    release["tell_addresses"](source, REPOSITORY, "v1.2.3")
    declared = (source / "setup.cfg").read_text()
    assert declared.startswith(f"[metadata]\nproject_urls =\n    Source = {REPOSITORY}\n")
    assert f"    Changelog = {REPOSITORY}/blob/v1.2.3/CHANGELOG.rst\n" in declared


def test_a_link_that_leads_nowhere_makes_no_release(source: Path) -> None:
    (source / "docs" / "dashboard.rst").unlink()
    with pytest.raises(SystemExit, match=r"dashboard\.rst, which is not there"):
        release["tell_addresses"](source, REPOSITORY, "v1.2.3")


def test_wheels_are_for_the_versions_that_the_metadata_name() -> None:
    told = re.findall(r"Programming Language :: Python :: (3\.\d+)$", (ROOT / "setup.cfg").read_text(), re.MULTILINE)
    assert told == list(release["PYTHONS"])


@pytest.mark.parametrize(
    "text", ["`x <docs/x.rst>`_", "`x <docs/x.rst>`__ and", ".. image:: docs/x.png", ".. image:: ./x.png"]
)
def test_relative_links_are_noticed(text: str) -> None:
    assert any("is relative" in word for word in checks["wrong_links"](text))
