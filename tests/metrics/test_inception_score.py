"""The inception score on cases with a closed form, and its interval by simulation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from efface.errors import DataError
from efface.metrics.base import Observations
from efface.metrics.inception_score import INCEPTION_SCORE, inception_score, score
from efface.metrics.intervals import mean
from tests.metrics.ends import measure


def drawn(count: int, seed: int = 0, classes: int = 5) -> np.ndarray:
    """Probabilities (N, classes), some surer than others."""
    return np.random.default_rng(seed).dirichlet(np.full(classes, 0.3), count)


def naive(p: np.ndarray) -> float:
    """exp(H(y) - H(y|x)), the same by another road."""

    def entropy(q: np.ndarray) -> np.ndarray:
        return -(q * np.log(q)).sum(-1)

    return float(np.exp(entropy(p.mean(0)) - entropy(p).mean()))


def entropy_from(p: np.ndarray, q: np.ndarray) -> float:
    return float((p * np.log(p / q)).sum())


def test_sure_and_varied_samples_count_the_classes():
    p = np.tile(np.eye(7), (30, 1))
    assert score(p) == pytest.approx(7)
    estimate = inception_score(p, splits=1)
    assert estimate.value == pytest.approx(7)


@pytest.mark.parametrize("row", [np.full(7, 1 / 7), np.eye(7)[2]], ids=["unsure", "one class"])
def test_unsure_or_uniform_samples_score_one(row):
    estimate = inception_score(np.tile(row, (50, 1)))
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((1, 1, 1))


def test_one_split_is_the_score_of_all_samples():
    p = drawn(300)
    assert score(p) == pytest.approx(naive(p))
    assert inception_score(p, splits=1).value == pytest.approx(naive(p))


def torchmetrics_score(p: np.ndarray, splits: int) -> float:
    inception = pytest.importorskip("torchmetrics.image.inception")
    reference = inception.InceptionScore(feature=torch.nn.Flatten(), splits=splits)
    reference.update(torch.from_numpy(np.log(p)).view(*p.shape, 1, 1))
    return float(reference.compute()[0])


def test_one_split_equals_torchmetrics():
    """Relative difference at most 1e-4."""
    p = drawn(1000).astype(np.float32)
    assert inception_score(p, splits=1).value == pytest.approx(torchmetrics_score(p, 1), rel=1e-4)


def test_the_splits_of_torchmetrics_have_its_score():
    """Relative difference at most 1e-4; torchmetrics shuffles, and its result with it."""
    p = drawn(1000).astype(np.float32)
    torch.manual_seed(0)
    expected = torchmetrics_score(p, 10)
    torch.manual_seed(0)
    shuffled = p[torch.randperm(1000).numpy()]
    assert np.mean([score(part) for part in np.split(shuffled, 10)]) == pytest.approx(
        expected, rel=1e-4
    )
    # Our splits are others of the same size: what differs is chance.
    others = [np.mean([score(part) for part in np.split(p[order], 10)]) for order in
              (np.random.default_rng(seed).permutation(1000) for seed in range(50))]  # fmt: skip
    assert abs(inception_score(p).value - np.mean(others)) < 3 * np.std(others)
    assert inception_score(p).value < score(p)  # fewer samples per split: fewer classes each


def test_the_order_of_samples_does_not_matter():
    p = drawn(205)
    order = np.random.default_rng(1).permutation(205)
    asked = np.arange(205) % 4
    for groups in (None, asked):
        first = inception_score(p, groups=groups)
        second = inception_score(p[order], groups=None if groups is None else groups[order])
        assert (first.value, first.low, first.high) == pytest.approx(
            (second.value, second.low, second.high), rel=1e-12
        )


def test_parts_have_their_share_of_each_group():
    """With one sure label per group, every part of 20 samples has all four labels."""
    labels = np.arange(200) % 4
    p = np.eye(4)[labels] * (1 - 1e-3) + 1e-3 * drawn(200)[:, :4]
    p /= p.sum(1, keepdims=True)
    grouped, free = inception_score(p, groups=labels), inception_score(p)
    assert grouped.value == pytest.approx(score(p), abs=1e-3)
    assert free.value < grouped.value - 0.01  # chance leaves the parts uneven
    assert grouped.high - grouped.low < (free.high - free.low) / 3


def test_the_interval_is_that_of_the_mean_divergence():
    """In one part: exp of the interval of mean KL, which is all that moves it to first order."""
    p = drawn(300)
    divergence = [entropy_from(row, p.mean(0)) for row in p]
    estimate, expected = inception_score(p, splits=1), mean(np.array(divergence))
    assert (estimate.low, estimate.high) == pytest.approx(
        (np.exp(expected.low), np.exp(expected.high))
    )


def test_the_interval_holds_the_expected_score_in_most_cases():
    """N = 200, 100 draws; what must be held is the mean score at that size.

    Two classes, where sorting by the probabilities would leave no chance between the parts.
    """
    truth = np.mean([inception_score(drawn(200, seed, 2)).value for seed in range(1000, 1100)])
    estimates = [inception_score(drawn(200, seed, 2)) for seed in range(100)]
    hits = sum(e.low <= truth <= e.high for e in estimates)
    assert hits >= 88


def test_the_metric_scores_samples_within_their_labels():
    p, asked = drawn(120), np.arange(120) % 3
    observed = Observations(asked=asked, probabilities=p, features=np.zeros((120, 2)))
    metric = INCEPTION_SCORE
    assert measure(metric, observed, [0], None) == inception_score(p, groups=asked)
    assert (metric.spec.name, metric.spec.side) == ("inception_score", "retain")
    assert metric.spec.better == "more" and not metric.needs_reference


def test_too_few_samples_for_the_splits_are_refused():
    assert inception_score(drawn(11)).value > 1
    with pytest.raises(DataError, match="10 samples cannot be scored in 10 splits"):
        inception_score(drawn(10))
