"""What sets families apart stands in tables alone."""

from __future__ import annotations

import re
from pathlib import Path

import efface
from efface.diffusion.text.encoding import ENCODE, TELL
from efface.diffusion.text.families import FAMILIES
from efface.diffusion.text.networks import CALL

SOURCE = Path(efface.__file__).parent
# A family's name compared with text, or taken apart; not one that is looked up in a table.
ASKS = re.compile(r"family\.name(?:\s*[!=]=|\s+(?:not\s+)?in\s*[\"'(\[{]|\.)")


def test_no_code_asks_for_a_family_by_its_name_but_the_estimate_of_memory():
    """As docs/text-to-image.md says."""
    found = {
        file.relative_to(SOURCE).as_posix()
        for file in SOURCE.rglob("*.py")
        if ASKS.search(file.read_text(encoding="utf-8"))
    }
    assert found <= {"memory/footprint.py"}


def test_every_family_has_its_two_functions_and_some_have_a_third():
    assert set(FAMILIES) == set(ENCODE) == set(CALL)
    assert set(TELL) == {"sdxl", "flux", "pixart_alpha"}
