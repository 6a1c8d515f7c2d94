"""Settings as published: what the page says, and that methods take them."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

from efface.methods import names, resolve
from efface.requests import kinds
from efface.settings.base import read_settings

DOCS = Path(__file__).parents[1] / "docs"
PUBLISHED = [name for name in names() if resolve(name).as_published]


def test_the_page_is_up_to_date() -> None:
    script = runpy.run_path(str(DOCS / "generate_published.py"))
    written = (DOCS / "methods" / "published-scripts.md").read_text(encoding="utf-8")
    assert written == script["page"](), "run `python docs/generate_published.py`"


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_method_takes_its_published_settings(name: str) -> None:
    method = resolve(name)
    kind = next(kind for kind in kinds().values() if kind.forgets and kind.fits(method))  # pyright: ignore
    changes = [f"{key}={json.dumps(value)}" for key, value in method.as_published.items()]
    settings = read_settings(kind.section, kind.own, method=name, changes=changes).to_json()
    for key, value in method.as_published.items():
        section, _, setting = key.partition(".")
        assert settings[section][setting] == value
