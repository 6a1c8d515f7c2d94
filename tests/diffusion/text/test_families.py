"""What sets families apart stands in tables alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import torch

import efface
from efface.diffusion.text.denoiser import TextDenoiser
from efface.diffusion.text.encoding import TELL

SOURCE = Path(efface.__file__).parent
# A family's name compared with text, or taken apart; not one that is looked up in a table.
ASKS = re.compile(r"family\.name(?:\s*[!=]=|\s+(?:not\s+)?in\s*[\"'(\[{]|\.)")


def test_no_code_asks_for_a_family_by_its_name_but_the_estimate_of_memory():
    """As docs/reference/text-to-image.md says."""
    found = {
        file.relative_to(SOURCE).as_posix()
        for file in SOURCE.rglob("*.py")
        if ASKS.search(file.read_text(encoding="utf-8"))
    }
    assert found <= {"memory/footprint.py"}


def test_some_families_have_a_function_of_their_own():
    assert set(TELL) == {"sdxl", "flux", "pixart_alpha"}


def test_the_named_attention_layers_are_those_of_the_network(
    text_model: Callable[..., TextDenoiser], kind: str
) -> None:
    denoiser = text_model(kind)
    linear = [
        name
        for name, module in denoiser.network.named_modules()
        if isinstance(module, torch.nn.Linear)
    ]
    for target in denoiser.family.attention:
        assert any(name.endswith(f".{target}") for name in linear), target
    # Every projection of a query is in an attention that the table knows.
    queries = {name for name in linear if name.rsplit(".", 1)[-1].endswith(("to_q", "q_proj"))}
    known = tuple(f".{target}" for target in denoiser.family.attention)
    assert queries
    assert all(name.endswith(known) for name in queries)
