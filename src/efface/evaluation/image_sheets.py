"""The pictures of a report about forgotten pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from efface.diffusion.denoiser import Denoiser
from efface.evaluation.grids import save_grid, write_grid_facts
from efface.evaluation.sample_sets import SampleSet
from efface.metrics.copy_similarity import denoise_back

COLUMNS, ROWS = 10, 5
PICTURES = 10


def write_comparison(
    folder: Path, models: tuple[SampleSet, SampleSet], copies: Sequence[np.ndarray]
) -> None:
    """`before.png`, `after.png` and `grid.json`: samples of two models from the same seeds.

    Up to half of the places go to seeds at which either model copied a picture (`copies`, a mask
    (N,) per model); the first of the others follow.
    """
    shown = COLUMNS * ROWS
    either = np.flatnonzero(copies[0] | copies[1])[: shown // 2].tolist()
    rest = [i for i in range(len(copies[0])) if i not in set(either)]
    order = [*either, *rest][:shown]
    for name, samples in zip(("before", "after"), models, strict=True):
        save_grid(samples.images(order), COLUMNS, folder / f"{name}.png")
    before, after = models
    grid = {
        "kind": "images",
        "rows": -(-len(order) // COLUMNS),
        "columns": COLUMNS,
        "labels": [],
        "names": [],
        "forgotten": [],
        "tile": before.subject.denoiser.sample_shape[-1],
        "copies_before": [n for n, i in enumerate(order) if copies[0][i]],
        "copies_after": [n for n, i in enumerate(order) if copies[1][i]],
    }
    write_grid_facts(folder, grid, before.subject, after.subject)


def write_strips(
    folder: Path, models: Sequence[Denoiser], pictures: Tensor, t: int, seed: int
) -> None:
    """`pictures.png`: each picture, and what every model makes of it noised to `t` and denoised.

    Pictures (K, ...) are in model space.
    """
    shown = pictures[:PICTURES]
    back = [denoise_back(model, shown, t, 1, seed)[:, 0].clamp(-1, 1) for model in models]
    rows = torch.stack([shown, *back], 1).flatten(0, 1)
    save_grid(rows.add(1).div(2), 1 + len(models), folder / "pictures.png")
