"""What users read keeps to the vocabulary: a committed list of phrases is searched for."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHECK = runpy.run_path(str(ROOT / "docs" / "check_words.py"))
PHRASES = CHECK["read_phrases"]((ROOT / "docs" / "words.txt").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("README.md", "Forget two pictures.", "README.md:1: 'pictures': write image"),
        ("docs/a/b.md", "fine\nthe untouched model", "docs/a/b.md:2: 'untouched model'"),
        ("src/efface/m.py", 'X = f"{1} is an untouched model"', "src/efface/m.py:1: "),
        ("src/efface/p.html.jinja", "<p>It is a no-op.</p>", "src/efface/p.html.jinja:1: 'no-op'"),
    ],
)
def test_a_phrase_is_found_where_users_read_it(
    name: str, text: str, found: str, tmp_path: Path
) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(text)
    (told,) = CHECK["find"](tmp_path, PHRASES)
    assert told.startswith(found)


def test_names_in_code_are_not_sentences(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "m.py").write_text("picture = 'pictures'\n")
    assert CHECK["find"](tmp_path, PHRASES) == []


def test_nothing_that_users_read_has_such_a_phrase() -> None:
    assert CHECK["find"](ROOT, PHRASES) == []
