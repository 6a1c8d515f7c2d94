"""How often a detector finds the forgotten thing, for every threshold instead of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from efface.errors import DataError
from efface.metrics.base import Observations
from efface.metrics.intervals import proportion
from efface.records import Curve, Point

THRESHOLDS = np.arange(100) / 100  # above a threshold of 1 is nothing


def forgotten_scores(observed: Observations, forgotten: Sequence[int]) -> np.ndarray:
    """Probability (N,) that the judge gives to all forgotten labels together."""
    return observed.probabilities[:, list(forgotten)].astype(np.float64).sum(1).clip(0, 1)


def threshold_curve(
    scores: Mapping[str, np.ndarray],
    detector: str,
    protocol: str,
    name: str = "threshold_curve",
) -> Curve:
    """Share of samples with a score above each threshold, by model, with Wilson's intervals.

    Scores (N,) in [0, 1] by model; intervals are for each threshold by itself. Raises DataError
    for scores outside.
    """
    return Curve(
        name=name,
        x_label=f"score of {detector} above",
        y_label="share of samples",
        lines={model: _line(model, values) for model, values in scores.items()},
        protocol=protocol,
    )


def _line(model: str, scores: np.ndarray) -> list[Point]:
    if len(scores) == 0 or not ((scores >= 0) & (scores <= 1)).all():
        raise DataError(f"scores of {model} are missing or outside of [0, 1]: scale them first.")
    counts = (scores[None] > THRESHOLDS[:, None]).sum(1)
    shares = {count: proportion(count, len(scores)) for count in set(counts.tolist())}
    return [
        Point(x=float(x), value=shares[n].value, low=shares[n].low, high=shares[n].high)
        for x, n in zip(THRESHOLDS, counts.tolist(), strict=True)
    ]
