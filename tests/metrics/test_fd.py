"""Frechet distance against closed forms and torchmetrics; its interval by simulation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import linalg
from torch import Tensor, nn

from efface.errors import DataError
from efface.metrics.fd import FD, frechet_distance
from tests.metrics.ends import measure
from tests.metrics.samples import by_label_and_in_turns, with_features


def gaussian(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and unbiased covariance (D, D) of features (N, D), in float64."""
    features = features.astype(np.float64)
    return features.mean(0), np.cov(features, rowvar=False)


def gaussian_distance(
    mean_a: np.ndarray, cov_a: np.ndarray, mean_b: np.ndarray, cov_b: np.ndarray
) -> float:
    """|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)) (Heusel et al., 2017, eq. 6)."""
    values, vectors = linalg.eigh(cov_a)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    # tr (C_a C_b)^(1/2) through the symmetric C_a^(1/2) C_b C_a^(1/2): the same eigenvalues.
    cross = np.sqrt(np.clip(linalg.eigvalsh(root @ cov_b @ root), 0, None)).sum()
    return float(((mean_a - mean_b) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * cross)


def features(seed: int, count: int = 300, width: int = 5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(width, width))
    return (rng.normal(size=(count, width)) @ mixing + 0.3 * seed).astype(np.float32)


def test_diagonal_gaussians_have_a_closed_form():
    mean_a, mean_b = np.array([1.0, -2.0, 0.5]), np.array([0.0, 1.0, 0.5])
    var_a, var_b = np.array([4.0, 0.25, 1.0]), np.array([1.0, 2.25, 0.49])
    # |m_a - m_b|^2 + sum (s_a - s_b)^2 = 10 + (1 + 1 + 0.09)
    distance = gaussian_distance(mean_a, np.diag(var_a), mean_b, np.diag(var_b))
    assert distance == pytest.approx(12.09, abs=1e-9)
    # The same, turned in space.
    turn = linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turned = [turn @ np.diag(v) @ turn.T for v in (var_a, var_b)]
    distance = gaussian_distance(turn @ mean_a, turned[0], turn @ mean_b, turned[1])
    assert distance == pytest.approx(12.09, abs=1e-9)


def test_the_formula_with_a_matrix_square_root_gives_the_same():
    (mean_a, cov_a), (mean_b, cov_b) = gaussian(features(0)), gaussian(features(1))
    root = linalg.sqrtm(cov_a @ cov_b).real
    expected = ((mean_a - mean_b) ** 2).sum() + np.trace(cov_a + cov_b - 2 * root)
    assert gaussian_distance(mean_a, cov_a, mean_b, cov_b) == pytest.approx(expected, rel=1e-9)


def test_distance_is_symmetric_and_vanishes_for_the_same_moments():
    a, b = gaussian(features(0)), gaussian(features(1))
    assert gaussian_distance(*a, *b) == pytest.approx(gaussian_distance(*b, *a), rel=1e-9)
    assert gaussian_distance(*a, *a) == pytest.approx(0, abs=1e-9)
    few = gaussian(features(0, count=4))  # fewer samples than dimensions: singular
    assert gaussian_distance(*few, *few) == pytest.approx(0, abs=1e-6)


def test_identical_sets_have_no_distance():
    drawn = features(0)
    assert measure(FD, with_features(drawn), [], drawn).value == pytest.approx(0, abs=1e-9)


class Pixels(nn.Module):
    """Features are the pixels."""

    num_features = 12

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1).float()


def test_value_equals_torchmetrics():
    published = pytest.importorskip("torchmetrics.image.fid")
    generator = torch.Generator().manual_seed(0)
    real = torch.randint(0, 256, (200, 3, 2, 2), generator=generator, dtype=torch.uint8)
    fake = (torch.randint(0, 200, (150, 3, 2, 2), generator=generator) + 20).to(torch.uint8)
    reference = published.FrechetInceptionDistance(feature=Pixels())
    reference.update(real, real=True)
    reference.update(fake, real=False)
    own = measure(FD, with_features(Pixels()(fake).numpy()), [], Pixels()(real).numpy())
    assert own.value == pytest.approx(float(reference.compute()), rel=1e-4)


def test_spread_between_labels_is_not_taken_for_chance():
    """Labels take turns in the samples; with ten of them a block must not be a single label."""
    rng = np.random.default_rng(0)
    centres = 20 * rng.normal(size=(10, 4))
    asked = np.arange(400) % 10
    drawn = centres[asked] + rng.normal(size=(400, 4))
    real = centres[asked] + rng.normal(size=(400, 4))
    estimate, ordered = (
        measure(FD, seen, [], real) for seen in by_label_and_in_turns(drawn, asked)
    )
    values = []
    for _ in range(200):
        again = centres[asked] + rng.normal(size=(400, 4))
        values.append(gaussian_distance(*gaussian(real), *gaussian(again)))
    reach, spread = (estimate.high - estimate.low) / 2, 1.96 * np.std(values)
    assert 0.4 < reach / spread < 2.5
    # However the samples are ordered, it is the same interval.
    assert (ordered.low, ordered.high) == pytest.approx((estimate.low, estimate.high))


@pytest.mark.parametrize(("count", "dimensions"), [(400, 3), (60, 8), (9, 2)])
def test_a_sample_moves_the_distance_by_its_influence(count, dimensions):
    """One of many samples taken out, by as much as it adds, over their number."""
    rng = np.random.default_rng(6)
    drawn, real = rng.normal(5, 2, (count, dimensions)), rng.normal(5, 1, (90, dimensions))
    measured = frechet_distance(drawn, real)
    assert measured.value == pytest.approx(gaussian_distance(*gaussian(real), *gaussian(drawn)))
    without = [frechet_distance(np.delete(drawn, row, axis=0), real).value for row in range(count)]
    moved = (np.mean(without) - without) * (count - 1)
    slope = np.polyfit(measured.errors, moved, 1)[0]
    assert np.corrcoef(measured.errors, moved)[0, 1] > 0.98
    assert slope == pytest.approx(1, abs=0.02 + 3 * dimensions / count)


@pytest.mark.parametrize(("count", "dimensions"), [(30, 40), (40, 30), (7, 40)])
def test_either_gram_matrix_gives_the_distance(count, dimensions):
    """Fewer rows than dimensions have eigenvalues of 0, whose roots keep half of the digits."""
    rng = np.random.default_rng(6)
    drawn, real = rng.normal(5, 2, (count, dimensions)), rng.normal(5, 1, (90, dimensions))
    expected = gaussian_distance(*gaussian(real), *gaussian(drawn))
    assert frechet_distance(drawn, real).value == pytest.approx(expected, rel=1e-5)
    both = np.concatenate([drawn, np.zeros((count, 25))], 1)  # dimensions that nothing is in
    wide = np.concatenate([real, np.zeros((90, 25))], 1)
    assert frechet_distance(both, wide).errors == pytest.approx(
        frechet_distance(drawn, real).errors, rel=1e-5, abs=1e-6
    )


def test_the_interval_holds_broken_samples():
    """2 % of 500 samples, ten standard deviations away; blocks of 20 held it in 90 %.

    300 draws: 92.5 % less 2.5 standard errors.
    """
    rng, real = np.random.default_rng(7), np.random.default_rng(8).normal(size=(300, 4))

    def draw() -> np.ndarray:
        return 1.1 * rng.normal(size=(500, 4)) + 10 * (rng.random((500, 1)) < 0.02)

    found = [frechet_distance(draw(), real) for _ in range(300)]
    truth = np.mean([estimate.value for estimate in found])
    assert np.mean([e.low <= truth <= e.high for e in found]) >= 0.887


@pytest.mark.slow
def test_the_interval_holds_the_expected_distance_in_most_cases():
    """D = 4, N = 200, 300 draws; what must be held is the mean distance at N = 200."""
    rng = np.random.default_rng(5)
    real = rng.normal(size=(2000, 4))
    mixing = np.eye(4) + 0.3 * rng.normal(size=(4, 4))

    def draw() -> np.ndarray:
        return rng.normal(size=(200, 4)) @ mixing + 0.2

    truth = np.mean([gaussian_distance(*gaussian(real), *gaussian(draw())) for _ in range(1000)])
    estimates = [measure(FD, with_features(draw()), [], real) for _ in range(300)]
    hits = sum(e.low <= truth <= e.high for e in estimates)
    assert 273 <= hits <= 298  # 91 to 99.3 %: conservative for few samples


def test_too_few_images_are_refused():
    with pytest.raises(DataError, match="2 samples and 90 real images are too few"):
        frechet_distance(np.zeros((2, 3)), np.zeros((90, 3)))
    rng = np.random.default_rng(0)
    assert frechet_distance(rng.normal(size=(3, 2)), rng.normal(size=(2, 2))).value > 0
