"""The images of a report about forgotten images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor

from efface.evaluation.grids import Models, save_grid, write_sheets

COLUMNS, ROWS = 10, 5
IMAGES = 10


def comparison_order(copies: Sequence[np.ndarray]) -> list[int]:
    """Which samples are shown.

    Up to half of the places go to seeds at which either model copied an image (`copies`, a mask
    (N,) per model); the first of the others follow.
    """
    shown = COLUMNS * ROWS
    either = np.flatnonzero(copies[0] | copies[1])[: shown // 2].tolist()
    rest = [i for i in range(len(copies[0])) if i not in set(either)]
    return [*either, *rest][:shown]


def write_comparison(
    folder: Path,
    sheets: Mapping[str, Tensor],
    copies: Sequence[np.ndarray],
    order: Sequence[int],
    models: Models,
) -> None:
    """`before.png`, `after.png` and `grid.json`: samples `order` of both, (n, C, H, W)."""
    grid = {
        "kind": "images",
        "rows": -(-len(order) // COLUMNS),
        "columns": COLUMNS,
        "labels": [],
        "names": [],
        "forgotten": [],
        "copies_before": [n for n, i in enumerate(order) if copies[0][i]],
        "copies_after": [n for n, i in enumerate(order) if copies[1][i]],
    }
    write_sheets(folder, sheets, grid, models)


def write_strips(folder: Path, images: Tensor, back: Sequence[Tensor]) -> None:
    """`images.png`: the first images, and what every model makes of each noised and denoised.

    All (K, C, H, W) in [0, 1]. The first process writes.
    """
    if not PartialState().is_main_process:
        return
    rows = torch.stack([images, *back], 1)[:IMAGES]
    save_grid(rows.flatten(0, 1), 1 + len(back), folder / "images.png")
