"""The page of all commands: made from their declarations."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def written() -> str:
    return (DOCS / "reference" / "cli.md").read_text(encoding="utf-8")


def test_the_page_is_up_to_date(written: str) -> None:
    script = runpy.run_path(str(DOCS / "generate_cli.py"))
    assert written == script["page"](), "run `python docs/generate_cli.py`"


@pytest.mark.parametrize("command", ["forget class", "forget memorised", "evaluate", "verify"])
def test_every_command_has_a_section(written: str, command: str) -> None:
    assert f"\n## efface {command}\n" in written
