"""What is made from the types of the answers: the front end's are those of today, and nothing is left without words."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "answer_types.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = spec_from_file_location("answer_types", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["answer_types"] = module
    spec.loader.exec_module(module)
    return module


def test_the_front_ends_types_are_those_of_the_table(tool: ModuleType) -> None:
    assert tool.TARGET.read_text() == tool.typescript(), "python tools/answer_types.py makes them"


def test_everything_has_words(tool: ModuleType) -> None:
    types = tool.read()
    assert len(types) > 20
    for one in types.values():
        assert one.words
        assert all(key.words for key in one.keys or ()), one.name
