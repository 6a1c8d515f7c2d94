"""The page of all metrics: made from their Specs, and none is missing."""

from __future__ import annotations

import runpy
from pathlib import Path

from tests.specs import SPECS

DOCS = Path(__file__).parents[1] / "docs"
MODIFIED = "_modified"  # a prompt of its own, and the figures are the same


def test_the_page_is_up_to_date():
    script = runpy.run_path(str(DOCS / "generate_metrics.py"))
    written = (DOCS / "reference" / "metrics.md").read_text(encoding="utf-8")
    assert written == script["page"](), "run `python docs/generate_metrics.py`"


def test_the_page_has_every_figure():
    written = (DOCS / "reference" / "metrics.md").read_text(encoding="utf-8")
    names = {name.removesuffix(MODIFIED) for name in SPECS}
    assert [name for name in sorted(names) if f"| `{name}` |" not in written] == []
