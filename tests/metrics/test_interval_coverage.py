"""Do 95 % intervals hold the truth in 93 to 97 % of 1,000 draws? All metrics of distributions.

The truth of a metric is its mean at that number of samples against those real images. What has an
exact interval (rates: Wilson's; means: Student's) is in `test_intervals.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from efface.metrics import fid
from efface.metrics.base import Metric, Observations
from efface.metrics.coverage import Coverage
from efface.metrics.density import Density
from efface.metrics.fid import FID
from efface.metrics.inception_score import InceptionScore
from efface.metrics.intervals import Estimate
from efface.metrics.kid import KID
from efface.metrics.precision import Precision
from efface.metrics.recall import Recall
from efface.metrics.sfid import SFID

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
DRAWS = 1000
LABELS = 5
Draw = Callable[[np.random.Generator], Observations]


def clusters(count: int, dimensions: int, spread: float) -> Draw:
    """Samples of labels that take turns, each around a centre of its own."""
    centres = np.random.default_rng(0).normal(size=(LABELS, dimensions))
    asked = np.arange(count) % LABELS

    def draw(rng: np.random.Generator) -> Observations:
        features = centres[asked] + spread * rng.normal(size=(count, dimensions))
        # A judge that is rather sure of the label that was asked for.
        logits = 2 * rng.normal(size=(count, LABELS)) + 4 * np.eye(LABELS)[asked]
        odds = np.exp(logits)
        return Observations(
            asked=asked,
            probabilities=odds / odds.sum(1, keepdims=True),
            features=features,
            spatial=features,
        )

    return draw


def real_images(dimensions: int) -> np.ndarray:
    count = max(300, 10 * dimensions)
    return clusters(count, dimensions, 1.0)(np.random.default_rng(2)).features


def held(metric: Metric, draw: Draw, real: np.ndarray) -> float:
    """The share of draws whose interval holds the metric's mean over all of them."""
    rng = np.random.default_rng(1)
    found: list[Estimate] = [metric.compute(draw(rng), [], real) for _ in range(DRAWS)]
    truth = np.mean([estimate.value for estimate in found])
    return float(np.mean([estimate.low <= truth <= estimate.high for estimate in found]))


CASES: tuple[tuple[Metric, int, int, float], ...] = (
    # samples, dimensions, spread of the samples (that of the real images is 1)
    (FID(), 200, 4, 1.1),
    (FID(), 400, 16, 1.1),
    (FID(), 900, 64, 1.1),
    (FID(), 500, 64, 1.1),  # fewer than ten samples a dimension: from halves and quarters
    (FID(), 200, 64, 1.1),
    (SFID(), 200, 4, 1.1),
    (KID(), 200, 4, 1.1),
    (Precision(), 200, 4, 1.3),
    (Recall(), 200, 4, 0.8),
    (Recall(), 300, 8, 1.0),
    (Density(), 200, 4, 0.9),
    (Coverage(), 200, 4, 0.7),
    (Coverage(), 300, 8, 1.0),
    (InceptionScore(), 200, 4, 1.0),
    (InceptionScore(), 900, 4, 1.0),
)


@pytest.mark.parametrize(
    ("metric", "samples", "dimensions", "spread"),
    CASES,
    ids=[f"{metric.name}-{samples}-{dimensions}" for metric, samples, dimensions, _ in CASES],
)
def test_intervals_hold_the_truth_as_often_as_they_say(
    metric: Metric, samples: int, dimensions: int, spread: float
) -> None:
    draw = clusters(samples, dimensions, spread)
    share = held(metric, draw, real_images(dimensions))
    print(f"{metric.name} {samples} {dimensions}: {share:.3f}")
    assert 0.93 <= share <= 0.97


@pytest.mark.parametrize(("samples", "dimensions"), [(500, 64), (200, 64), (900, 64)])
def test_fewer_splits_hold_the_truth_as_often(
    samples: int, dimensions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What FID of 1,025 dimensions and more has, where 1,000 draws would take days."""
    monkeypatch.setattr(fid, "LARGEST", 0)
    monkeypatch.setattr(fid, "PAIRED", 0)
    share = held(FID(), clusters(samples, dimensions, 1.1), real_images(dimensions))
    print(f"fid {samples} {dimensions}, fewer splits: {share:.3f}")
    assert 0.93 <= share <= 0.97
