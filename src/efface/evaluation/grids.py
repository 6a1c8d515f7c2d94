"""Sheets of samples as PNG, and what a report needs to know of them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from accelerate import PartialState
from PIL import Image
from torch import Tensor

from efface.diffusion.denoiser import as_class_denoiser
from efface.diffusion.text.prompts import shortened
from efface.evaluation.sample_sets import Asked, SampleSet, Subject, draw_kept
from efface.evaluation.store import Store
from efface.files import whole_file
from efface.settings.evaluate import EvaluateSettings

GRID_COLUMNS = 10
GRID_ROWS = 10
SHEETS = ("before", "after")
Models = tuple[Subject, Subject]  # the original model and the result


def write_grids(
    folder: Path,
    models: Models,
    forgotten: Sequence[int],
    config: EvaluateSettings,
    store: Store,
    names: Mapping[int, str] = MappingProxyType({}),
) -> None:
    """`samples/before.png`, `after.png` and `grid.json`: one row per label, the same noise."""
    labels = _grid_labels(as_class_denoiser(models[0].denoiser).labels, forgotten)
    asked = [label for label in labels for _ in range(GRID_COLUMNS)]
    grid = {
        "labels": labels,
        "names": [names.get(label, str(label)) for label in labels],
        "columns": GRID_COLUMNS,
        "forgotten": sorted(forgotten),
    }
    write_sheets(folder, draw_both(models, asked, config, store), grid, models)


def write_prompt_grids(
    folder: Path,
    models: Models,
    names: Sequence[str],
    asked: Asked,
    forgotten: int,
    config: EvaluateSettings,
    store: Store,
) -> None:
    """The same with one row per prompt, the first of them `forgotten`.

    `names` are those of the rows, and `asked` what each of their samples is conditioned on.
    """
    grid = {
        "labels": list(range(len(names))),
        "names": [shortened(text) for text in names],
        "columns": len(asked) // len(names),
        "asked": "prompt",
        "forgotten": list(range(forgotten)),
    }
    write_sheets(folder, draw_both(models, asked, config, store), grid, models)


def draw_both(
    models: Models, asked: Asked, config: EvaluateSettings, store: Store
) -> dict[str, Tensor]:
    """Samples of both models from the same noise, by "before" and "after"; row i has seed i."""
    seeds = range(config.seed, config.seed + len(asked))
    sheets = {}
    for name, subject in zip(SHEETS, models, strict=True):
        samples = SampleSet(subject=subject, seeds=seeds, asked=asked, batch_size=config.batch_size)
        sheets[name] = draw_kept(samples, store, "samples to look at")
    return sheets


def _grid_labels(labels: Sequence[int], forgotten: Sequence[int]) -> list[int]:
    """All labels, or the forgotten ones and the first others."""
    others = [label for label in labels if label not in forgotten]
    return sorted([*forgotten, *others][:GRID_ROWS])


def write_sheets(
    folder: Path, sheets: Mapping[str, Tensor], facts: Mapping[str, Any], models: Models
) -> None:
    """`NAME.png` of images (N, C, H, W) in [0, 1] in `facts["columns"]`, and `grid.json`.

    The latter says what the sheets show, and how both models drew them. The first process writes.
    """
    if not PartialState().is_main_process:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name, images in sheets.items():
        save_grid(images, facts["columns"], folder / f"{name}.png")
    samplers = {name: m.sampler.describe() for name, m in zip(SHEETS, models, strict=True)}
    whole = {**facts, "tile": sheets[SHEETS[0]].shape[-1], **samplers}
    with whole_file(folder / "grid.json") as part:
        part.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")


def sheets_are_whole(folder: Path) -> bool:
    """Whether both sheets and what is said of them are there and can be read."""
    try:
        facts = json.loads((folder / "grid.json").read_text(encoding="utf-8"))
        for name in SHEETS:
            with Image.open(folder / f"{name}.png") as sheet:
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
