"""Tests mirror the source: every module is answered by a test file of its name."""

from __future__ import annotations

from pathlib import Path

import pytest

import efface

TESTS = Path(__file__).parent
SOURCE = Path(efface.__file__).parent
UNDONE = ()
MODULES = sorted(
    path.relative_to(SOURCE).as_posix()
    for path in SOURCE.rglob("*.py")
    if not path.name.startswith("__")
)


@pytest.mark.parametrize("module", [name for name in MODULES if not name.startswith(UNDONE)])
def test_a_module_has_a_test_file_of_its_name(module: str) -> None:
    folder, _, name = module.rpartition("/")
    assert (TESTS / folder / f"test_{name}").is_file()
