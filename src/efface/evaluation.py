"""Sample once, feed every metric, the untouched model beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from efface.config import EvaluateConfig
from efface.diffusion.denoiser import ClassDenoiser, Denoiser
from efface.diffusion.sampling import Sampler, draw_images
from efface.metrics.base import Metric, Observations, Side
from efface.metrics.fid import FID
from efface.metrics.intervals import Estimate
from efface.metrics.judge import Judge
from efface.metrics.precision import Precision
from efface.metrics.recall import Recall
from efface.metrics.retained_accuracy import RetainedAccuracy
from efface.metrics.unlearning_accuracy import (
    ForgottenEntropy,
    ForgottenProbability,
    UnlearningAccuracy,
)
from efface.progress import Bar
from efface.records import Evaluation, Result, Value

CLASS_METRICS: tuple[Metric, ...] = (
    UnlearningAccuracy(),
    ForgottenProbability(),
    ForgottenEntropy(),
    RetainedAccuracy(),
    FID(),
    Precision(),
    Recall(),
)
GRID_COLUMNS = 10
GRID_ROWS = 10


@dataclass(frozen=True, eq=False, kw_only=True)
class Subject:
    """A model and how it is to be sampled."""

    denoiser: ClassDenoiser
    sampler: Sampler


@dataclass(frozen=True, eq=False, kw_only=True)
class ClassProtocol:
    """Which samples are drawn: labels take turns, sample i has seed first + i."""

    forgotten: Sequence[int]
    retained: Sequence[int]
    config: EvaluateConfig

    def asked(self, side: Side) -> np.ndarray:
        labels = np.array(self.forgotten if side == "forget" else self.retained, dtype=np.int64)
        count = self.config.forget_samples if side == "forget" else self.config.retain_samples
        return labels[np.arange(count) % len(labels)] if len(labels) else labels

    def seeds(self, side: Side) -> range:
        first = self.config.seed + (0 if side == "forget" else self.config.forget_samples)
        return range(first, first + len(self.asked(side)))


def observe(
    subject: Subject, protocol: ClassProtocol, judge: Judge, what: str
) -> dict[Side, Observations]:
    """Draw both sides once and let the judge see them."""
    observed: dict[Side, Observations] = {}
    sides: tuple[Side, ...] = ("forget", "retain")
    total = sum(len(protocol.asked(side)) for side in sides)
    with Bar(what, total, unit="images") as bar:
        for side in sides:
            asked = protocol.asked(side)
            if len(asked) == 0:
                continue
            condition = subject.denoiser.encode(asked.tolist())
            images = draw_images(
                subject.denoiser,
                subject.sampler,
                condition,
                protocol.seeds(side),
                protocol.config.batch_size,
                on_batch=bar.advance,
            )
            observed[side] = judge.observe(images, asked)
    return observed


def evaluate_classes(
    result: Subject,
    baseline: Subject,
    baseline_one_step: Subject | None,
    protocol: ClassProtocol,
    judge: Judge,
) -> Evaluation:
    """Measure the result and the untouched model by one protocol."""
    seen = observe(result, protocol, judge, "sampling the result")
    seen_baseline = observe(baseline, protocol, judge, "sampling the untouched model")
    seen_one_step = None
    if baseline_one_step is not None:
        seen_one_step = observe(baseline_one_step, protocol, judge, "the untouched model, one step")
    reference = judge.reference_without(protocol.forgotten)

    def compute(metric: Metric, observed: Mapping[Side, Observations]) -> Value:
        return _value(metric.compute(observed[metric.side], protocol.forgotten, reference))

    results = []
    for metric in CLASS_METRICS:
        if metric.side not in seen:
            continue
        own = compute(metric, seen)
        seeds = protocol.seeds(metric.side)
        results.append(
            Result(
                metric=metric.name,
                **own.model_dump(),
                unit=metric.unit,
                higher_is_better=metric.higher_is_better,
                samples=len(seeds),
                seeds=[seeds[0], seeds[-1]],
                protocol=_describe(metric, result, baseline, judge, len(reference)),
                baseline=compute(metric, seen_baseline),
                baseline_one_step=compute(metric, seen_one_step) if seen_one_step else None,
            )
        )
    return Evaluation(results=results, judge=judge.reported())


def _value(estimate: Estimate) -> Value:
    return Value(value=estimate.value, low=estimate.low, high=estimate.high)


def _describe(
    metric: Metric, result: Subject, baseline: Subject, judge: Judge, references: int
) -> str:
    text = (
        f"result: {result.sampler.describe()}; untouched model: {baseline.sampler.describe()}; "
        f"judge: {judge.name}"
    )
    if metric.needs_reference:
        text += f", features against {references} real training images of the retained labels"
    return text


def write_grids(
    folder: Path, before: Subject, after: Subject, forgotten: Sequence[int], seed: int
) -> None:
    """`samples/before.png`, `after.png` and `grid.json`: one row per label, the same noise."""
    labels = _grid_labels(before.denoiser.num_classes, forgotten)
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
        "before": before.sampler.describe(),
        "after": after.sampler.describe(),
    }
    (folder / "grid.json").write_text(json.dumps(grid, indent=2) + "\n", encoding="utf-8")


def _grid_labels(classes: int, forgotten: Sequence[int]) -> list[int]:
    """All labels, or the forgotten ones and the first others."""
    others = [label for label in range(classes) if label not in forgotten]
    return sorted([*forgotten, *others][:GRID_ROWS])


def save_grid(images: Tensor, columns: int, path: Path) -> None:
    """Write images (N, C, H, W) in [0, 1] as one PNG, row by row."""
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    sheet = torch.zeros(rows * columns, channels, height, width)
    sheet[:count] = images
    sheet = sheet.view(rows, columns, channels, height, width).permute(0, 3, 1, 4, 2)
    pixels = sheet.reshape(rows * height, columns * width, channels).mul(255).round().byte().numpy()
    Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(path)


def as_class_denoiser(denoiser: Denoiser) -> ClassDenoiser:
    assert isinstance(denoiser, ClassDenoiser)  # the request was checked against the model
    return denoiser
