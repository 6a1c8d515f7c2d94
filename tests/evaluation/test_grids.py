"""Sheets of samples: which image is where, and what is said of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from efface.diffusion.sampling import MultiStep, draw_images
from efface.evaluation.grids import (
    save_grid,
    sheets_are_whole,
    write_grids,
    write_prompt_grids,
)
from efface.evaluation.sample_sets import Subject
from efface.evaluation.store import Store
from efface.settings.evaluate import EvaluateSettings
from tests.tiny import make_tiny_unet

FIGURES = EvaluateSettings()


def read(path: Path) -> np.ndarray:
    with Image.open(path) as sheet:
        return np.asarray(sheet)


@pytest.fixture(scope="module")
def models() -> tuple[Subject, Subject]:
    """The original model and another, which says something else to the same noise."""
    original, result = (make_tiny_unet(seed=seed) for seed in (0, 1))
    sampler = MultiStep(1)
    return (Subject(denoiser=original, sampler=sampler), Subject(denoiser=result, sampler=sampler))


@pytest.mark.parametrize("channels", [1, 3])
def test_images_follow_each_other_row_by_row_and_the_rest_is_black(channels: int, tmp_path: Path):
    levels = torch.randint(1, 256, (5, channels, 2, 3), generator=torch.manual_seed(0))
    save_grid(levels / 255, 3, tmp_path / "grid.png")
    sheet = read(tmp_path / "grid.png").reshape(4, 9, channels)
    for i, image in enumerate(levels):
        row, column = divmod(i, 3)
        tile = sheet[2 * row : 2 * row + 2, 3 * column : 3 * column + 3]
        np.testing.assert_array_equal(tile, image.permute(1, 2, 0))
    assert (sheet[2:, 6:] == 0).all()


def draw(models: tuple[Subject, Subject], labels: list[int]) -> list[Tensor]:
    """Both models' samples of the labels, from the seeds of the settings."""
    seeds = range(FIGURES.seed, FIGURES.seed + len(labels))
    return [
        draw_images(one.denoiser, one.sampler, one.denoiser.encode(labels), seeds) for one in models
    ]


def test_every_label_has_a_row_of_the_same_noise(models, tmp_path: Path):
    write_grids(tmp_path, models, [7, 3], FIGURES, Store(None))
    facts = json.loads((tmp_path / "grid.json").read_text())
    assert facts["labels"] == list(range(10)) and facts["forgotten"] == [3, 7]
    assert (facts["columns"], facts["tile"]) == (10, 8)
    assert facts["before"] == facts["after"] == models[0].sampler.describe()
    expected = draw(models, [label for label in range(10) for _ in range(10)])
    for name, images in zip(("before", "after"), expected, strict=True):
        tiles = read(tmp_path / f"{name}.png").reshape(10, 8, 10, 8).swapaxes(1, 2)
        assert np.abs(tiles.reshape(100, 1, 8, 8) / 255.0 - images.numpy()).max() < 1 / 255


def test_prompts_have_rows_too_and_the_first_are_forgotten(models, tmp_path: Path):
    asked = [1, 1, 2, 2, 4, 4]
    names = ["a bag", "a coat", "x" * 500]
    write_prompt_grids(tmp_path, models, names, asked, 1, FIGURES, Store(None))
    facts = json.loads((tmp_path / "grid.json").read_text())
    assert (facts["columns"], facts["forgotten"], facts["asked"]) == (2, [0], "prompt")
    assert facts["names"][:2] == ["'a bag'", "'a coat'"] and len(facts["names"][2]) < 500
    assert read(tmp_path / "after.png").shape == (3 * 8, 2 * 8)


def test_sheets_are_whole_until_one_is_damaged(models, tmp_path: Path):
    assert not sheets_are_whole(tmp_path)
    write_prompt_grids(tmp_path, models, ["a"], [1, 1], 1, FIGURES, Store(None))
    assert sheets_are_whole(tmp_path)
    for name, damage in (("before.png", b"\x89PNG"), ("after.png", b""), ("grid.json", b"[]")):
        path = tmp_path / name
        content = path.read_bytes()
        path.write_bytes(damage)
        assert not sheets_are_whole(tmp_path), name
        path.write_bytes(content)
        assert sheets_are_whole(tmp_path)
