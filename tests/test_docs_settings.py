"""The page of all settings: made from their declarations."""

from __future__ import annotations

import runpy
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def test_the_page_is_up_to_date() -> None:
    script = runpy.run_path(str(DOCS / "generate_settings.py"))
    written = (DOCS / "reference" / "settings.md").read_text(encoding="utf-8")
    assert written == script["page"](), "run `python docs/generate_settings.py`"
