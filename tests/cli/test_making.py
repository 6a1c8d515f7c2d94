"""Commands that make something to work with; tests/zoo/build makes all of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.mark.parametrize("command", ["train", "classifier", "autoencoder", "detector"])
def test_nothing_is_written_without_a_recipe(
    command: str, fails: Callable[..., str], tmp_path: Path
) -> None:
    sentence = fails(command, tmp_path / "none.toml", "--out", tmp_path / "out")
    assert "none.toml" in sentence and not (tmp_path / "out").exists()
