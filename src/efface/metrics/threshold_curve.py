"""How often a detector finds the forgotten thing, for every threshold instead of one."""

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
    title: str = "How often it is found, by threshold",
    extractor: dict[str, str] | None = None,
) -> Curve:
    """Share of samples with a score above each threshold, by model, with exact intervals.

    Scores (N,) in [0, 1] by model; intervals are for each threshold by itself. Raises DataError
    for scores outside.
    """
    for model, values in scores.items():
        if len(values) == 0 or not ((values >= 0) & (values <= 1)).all():
            raise DataError(
                f"scores of {model} are missing or outside of [0, 1]: scale them first."
            )
    return Curve(
        name=name,
        title=title,
        x_label=f"score of {detector} above",
        y_label="share of samples",
        lines={model: _line(values, THRESHOLDS) for model, values in scores.items()},
        protocol=protocol,
        extractor=extractor,
    )


def distance_curve(nearest: Mapping[str, np.ndarray], distance: float, protocol: str) -> Curve:
    """Share of samples within each distance of a forgotten image, up to twice `distance`.

    Distances (N,) of samples to the nearest image, by model; `distance` is that of a copy, which
    is the point in the middle. Exact intervals.
    """
    within = np.linspace(0, 2 * distance, len(THRESHOLDS) + 1)
    return Curve(
        name="copy_curve",
        title="How often samples come near a forgotten image, by distance",
        x_label="distance to the nearest forgotten image below",
        y_label="share of samples",
        lines={m: _line(-values.astype(np.float64), -within) for m, values in nearest.items()},
        protocol=f"{protocol}; a copy lies within {distance:.3g}",
    )


def similarity_curve(
    similarity: Mapping[str, np.ndarray], threshold: float, protocol: str
) -> Curve:
    """Share of samples whose similarity to the memorised image exceeds each of 0 to 0.99.

    Cosines (N,) by model; `threshold` is that of a copy. Exact intervals.
    """
    return Curve(
        name="similarity_curve",
        title="How often the image is generated, by similarity",
        x_label="similarity to the memorised image above",
        y_label="share of samples",
        lines={model: _line(values, THRESHOLDS) for model, values in similarity.items()},
        protocol=f"{protocol}; a copy has {threshold:.3f} or more",
    )


def _line(scores: np.ndarray, thresholds: np.ndarray) -> list[Point]:
    counts = (scores[None] > thresholds[:, None]).sum(1)
    shares = {count: proportion(count, len(scores)) for count in set(counts.tolist())}
    return [
        Point(x=abs(float(x)), value=shares[n].value, low=shares[n].low, high=shares[n].high)
        for x, n in zip(thresholds, counts.tolist(), strict=True)
    ]
