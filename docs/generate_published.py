"""Write the table of published settings: `python docs/generate_published.py`."""

from __future__ import annotations

from pathlib import Path

from efface.methods import names, resolve

PAGE = Path(__file__).parent / "methods" / "published-scripts.md"
MARK = "<!-- table -->\n"


def page() -> str:
    """The page with its table made anew."""
    rows = ["| method | settings | what a published script does otherwise |", "| --- | --- | --- |"]
    for name in names():
        method = resolve(name)
        if method.as_published:
            settings = ", ".join(f"`{key}={value}`" for key, value in method.as_published.items())
            rows.append(f"| `{name}` | {settings} | {method.repaired} |")
    above = PAGE.read_text(encoding="utf-8").partition(MARK)[0]
    return above + MARK + "\n" + "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
