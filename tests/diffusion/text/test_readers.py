"""Prompts that are too long, by tokenizers alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from efface.diffusion.loading import load
from efface.diffusion.text.readers import check_lengths
from efface.errors import RequestError
from tests.text_pipelines import inspect_small


@pytest.mark.parametrize(("kind", "longest"), [("sd", 14), ("flux", 14), ("pixart_sigma", 298)])
def test_lengths_are_checked_without_weights_as_the_loaded_model_checks_them(
    pipelines: Callable[[str], Path], kind: str, longest: int
) -> None:
    info = inspect_small(pipelines(kind))
    check_lengths(info, ["a" * longest])
    with pytest.raises(RequestError) as early:
        check_lengths(info, ["a" * (longest + 1)])
    with pytest.raises(RequestError) as late:
        load(info).encode(["a" * (longest + 1)])
    assert str(early.value) == str(late.value)
