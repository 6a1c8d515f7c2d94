"""Sheets of samples as PNG, and what a report needs to know of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from efface.diffusion.denoiser import as_class_denoiser
from efface.diffusion.sampling import draw_images
from efface.evaluation.sample_sets import Subject
from efface.files import whole_file

GRID_COLUMNS = 10
GRID_ROWS = 10


def write_grids(
    folder: Path, before: Subject, after: Subject, forgotten: Sequence[int], seed: int
) -> None:
    """`samples/before.png`, `after.png` and `grid.json`: one row per label, the same noise."""
    labels = _grid_labels(as_class_denoiser(before.denoiser).num_classes, forgotten)
    folder.mkdir(parents=True, exist_ok=True)
    asked = [label for label in labels for _ in range(GRID_COLUMNS)]
    seeds = [seed + i for i in range(len(asked))]
    for name, subject in (("before", before), ("after", after)):
        condition = subject.denoiser.encode(asked)
        images = draw_images(subject.denoiser, subject.sampler, condition, seeds)
        save_grid(images, GRID_COLUMNS, folder / f"{name}.png")
    grid = {
        "labels": labels,
        "names": [str(label) for label in labels],
        "columns": GRID_COLUMNS,
        "forgotten": sorted(forgotten),
        "tile": before.denoiser.sample_shape[-1],
    }
    write_grid_facts(folder, grid, before, after)


def _grid_labels(classes: int, forgotten: Sequence[int]) -> list[int]:
    """All labels, or the forgotten ones and the first others."""
    others = [label for label in range(classes) if label not in forgotten]
    return sorted([*forgotten, *others][:GRID_ROWS])


def write_grid_facts(
    folder: Path, facts: Mapping[str, object], before: Subject, after: Subject
) -> None:
    """`grid.json`: what the sheets beside it show, and how both models drew them."""
    samplers = {"before": before.sampler.describe(), "after": after.sampler.describe()}
    with whole_file(folder / "grid.json") as part:
        part.write_text(json.dumps({**facts, **samplers}, indent=2) + "\n", encoding="utf-8")


def sheets_are_whole(folder: Path) -> bool:
    """Whether both sheets and what is said of them are there and can be read."""
    try:
        facts = json.loads((folder / "grid.json").read_text(encoding="utf-8"))
        for name in ("before.png", "after.png"):
            with Image.open(folder / name) as sheet:
                sheet.load()
    except (OSError, ValueError, SyntaxError):  # Pillow raises the last for some broken files
        return False
    return isinstance(facts, dict)


def save_grid(images: Tensor, columns: int, path: Path) -> None:
    """Write images (N, C, H, W) in [0, 1] as one PNG, row by row."""
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    sheet = torch.zeros(rows * columns, channels, height, width)
    sheet[:count] = images
    sheet = sheet.view(rows, columns, channels, height, width).permute(0, 3, 1, 4, 2)
    pixels = sheet.reshape(rows * height, columns * width, channels).mul(255).round().byte().numpy()
    Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(path)
