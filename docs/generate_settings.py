"""Writes the tables of docs/reference/settings.md from the declarations of the settings.

    python docs/generate_settings.py

The words between the tables stand in the page itself.
"""

from __future__ import annotations

import re
from pathlib import Path

from efface.requests import sections
from efface.settings.base import sections_of
from efface.settings.listing import list_section

PAGE = Path(__file__).parent / "reference" / "settings.md"
COLUMNS = "| setting | type | range | default | meaning |\n| --- | --- | --- | --- | --- |\n"
TABLE = re.compile(re.escape(COLUMNS) + r"(?:\|.*\n)*")
HEADING = re.compile(r"^## (\w+)$", re.MULTILINE)


def page() -> str:
    """The page with its tables made anew; ValueError where a section has no heading of its own."""
    known = sections_of("", None, None) | sections()
    text = PAGE.read_text(encoding="utf-8")
    head, *parts = HEADING.split(text)
    named = dict(zip(parts[::2], parts[1::2], strict=True))
    if set(named) != set(known) - {"method"}:
        raise ValueError(f"the page has the sections {sorted(named)}: write one for every section")
    made = (
        f"## {name}{TABLE.sub(lambda _, n=name: _table(n, known[n]), own)}"
        for name, own in named.items()
    )
    return head + "".join(made)


def _table(name: str, section: type) -> str:
    rows = [
        (f"`{row.name}`", row.type, row.range, f"`{row.default}`", row.description)
        for row in list_section(name, section)
    ]
    cells = ([cell.replace("|", "\\|") for cell in row] for row in rows)
    return COLUMNS + "".join(f"| {' | '.join(row)} |\n" for row in cells)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
