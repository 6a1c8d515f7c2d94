"""Search what users read (pages, messages, help, templates) for phrases of `words.txt`."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "CONTRIBUTING.md", "docs/**/*.md", "src/efface/**/*.jinja", "recipes/*.toml")
Line = tuple[str, str]  # where it stands, and its text


def read_phrases(text: str) -> dict[re.Pattern[str], str]:
    """The expressions of a list, with what to write in their place."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    pairs = (line.split(" -> ") for line in lines)
    return {re.compile(phrase, re.IGNORECASE): instead for phrase, instead in pairs}


def page_lines(root: Path) -> Iterator[Line]:
    """Every line of the pages and templates."""
    for pattern in PAGES:
        for path in sorted(root.glob(pattern)):
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                yield f"{path.relative_to(root)}:{number}", line


def sentences(root: Path) -> Iterator[Line]:
    """Every text in the sources that has more than one word: messages, help and docstrings."""
    for path in sorted((root / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
                yield f"{path.relative_to(root)}:{node.lineno}", node.value


def find(root: Path, phrases: dict[re.Pattern[str], str]) -> list[str]:
    """Every place with a phrase, and what to write there."""
    return [
        f"{place}: {match.group()!r}: write {instead}"
        for place, text in (*page_lines(root), *sentences(root))
        for phrase, instead in phrases.items()
        if (match := phrase.search(text))
    ]


if __name__ == "__main__":
    found = find(ROOT, read_phrases((ROOT / "docs" / "words.txt").read_text(encoding="utf-8")))
    sys.stdout.write("".join(f"{line}\n" for line in found))
    sys.exit(1 if found else 0)
