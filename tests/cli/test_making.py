"""Commands that make something to work with; tests/zoo/build makes all of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import datasets
import pytest
from PIL import Image


@pytest.mark.parametrize("command", ["train", "classifier", "autoencoder", "detector"])
def test_nothing_is_written_without_a_recipe(
    command: str, fails: Callable[..., str], tmp_path: Path
) -> None:
    sentence = fails(command, tmp_path / "none.toml", "--out", tmp_path / "out")
    assert "none.toml" in sentence and not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["train", "classifier", "autoencoder", "detector"])
def test_columns_of_tables_are_chosen(
    command: str, fails: Callable[..., str], tmp_path: Path
) -> None:
    source, recipe = tmp_path / "x.parquet", tmp_path / "recipe.toml"
    images = {"front": [Image.new("L", (28, 28))], "back": [Image.new("L", (28, 28))], "y": ["a"]}
    kinds = {"front": datasets.Image(), "back": datasets.Image(), "y": datasets.Value("string")}
    datasets.Dataset.from_dict(images, datasets.Features(kinds)).to_parquet(source)
    scenes = "[scenes]\nimages = 256\n" if command in ("autoencoder", "detector") else ""
    recipe.write_text(f'[data]\nsource = "{source}"\nheld_out = "{source}"\n{scenes}')
    out = ["--out", tmp_path / "out"]
    assert "choose with --image-column" in fails(command, recipe, *out)
    chosen = ["--image-column", "back", "--label-column"]
    assert "no column '1'" in fails(command, recipe, *out, *chosen, "1")
    assert "label 'a' in column 'y'" in fails(command, recipe, *out, *chosen, "y")
