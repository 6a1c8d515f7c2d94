"""Kernel distance against torchmetrics and sums written out; its interval by simulation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from efface.errors import DataError
from efface.metrics.kid import KID, kid
from tests.metrics.ends import ends, measure
from tests.metrics.samples import by_label_and_in_turns


def features(seed: int, count: int, shift: float = 0.0, width: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, (count, width)).astype(np.float32)


def in_words(drawn: np.ndarray, real: np.ndarray) -> float:
    """Equation 4 of Binkowski et al., 2018, pair by pair."""

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float((x.astype(np.float64) @ y / len(x) + 1) ** 3)

    def mean_of_pairs(rows: np.ndarray) -> float:
        pairs = [kernel(x, y) for i, x in enumerate(rows) for j, y in enumerate(rows) if i != j]
        return float(np.mean(pairs))

    between = np.mean([kernel(x, y) for x in drawn for y in real])
    return mean_of_pairs(drawn) + mean_of_pairs(real) - 2 * float(between)


class Identity(nn.Module):
    """Features are what is given."""

    num_features = 12

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1).float()


def torchmetrics_kid(real: Tensor, fake: Tensor, subsets: int, size: int) -> float:
    module = pytest.importorskip("torchmetrics.image.kid")
    reference = module.KernelInceptionDistance(Identity(), subsets=subsets, subset_size=size)
    reference.update(real, real=True)
    reference.update(fake, real=False)
    return float(reference.compute()[0])


@pytest.fixture
def levels() -> tuple[Tensor, Tensor]:
    """Two sets of 3x2x2 images at small levels, so that float32 sums are exact enough."""
    generator = torch.Generator().manual_seed(0)
    real = torch.randint(0, 6, (200, 3, 2, 2), generator=generator, dtype=torch.uint8)
    fake = torch.randint(0, 5, (200, 3, 2, 2), generator=generator) + 1
    return real, fake.to(torch.uint8)


def test_value_equals_the_sum_over_pairs():
    drawn, real = features(0, 45, 0.3), features(1, 30)
    assert kid(drawn, real).value == pytest.approx(in_words(drawn, real), rel=1e-10)


def test_value_equals_torchmetrics_on_one_subset_of_all(levels):
    """Relative difference at most 1e-4."""
    real, fake = levels
    own = kid(Identity()(fake).numpy(), Identity()(real).numpy()).value
    assert own == pytest.approx(torchmetrics_kid(real, fake, 1, 200), rel=1e-4)


def test_value_on_the_subsets_of_torchmetrics_equals_its_mean(levels):
    """Relative difference at most 1e-4; the subsets are drawn as torchmetrics draws them."""
    real, fake = levels
    torch.manual_seed(3)
    expected = torchmetrics_kid(real, fake, 5, 50)
    torch.manual_seed(3)
    values = []
    for _ in range(5):
        of_real, of_fake = torch.randperm(200)[:50], torch.randperm(200)[:50]
        values.append(kid(Identity()(fake[of_fake]).numpy(), Identity()(real[of_real]).numpy()))
    assert np.mean([v.value for v in values]) == pytest.approx(expected, rel=1e-4)


def test_long_lists_are_cut_without_changing_the_answer():
    drawn, real = features(0, 1100, 0.2, width=3), features(1, 1050, width=3)
    kernel = (drawn.astype(np.float64) @ real.T / 3 + 1) ** 3
    own = [(x.astype(np.float64) @ x.T / 3 + 1) ** 3 for x in (drawn, real)]
    means = [(k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in own]
    assert kid(drawn, real).value == pytest.approx(sum(means) - 2 * kernel.mean(), rel=1e-9)


def test_a_sample_moves_the_distance_by_its_influence():
    """Taken out, by as much as it adds; its kernel with itself counts as in what was sampled."""
    drawn, real = features(0, 200, 0.5), features(1, 40)
    without = np.array([kid(np.delete(drawn, i, axis=0), real).value for i in range(200)])
    errors, moved = kid(drawn, real).errors, (without.mean() - without) * 199
    assert np.corrcoef(errors, moved)[0, 1] > 0.98
    assert np.polyfit(errors, moved, 1)[0] == pytest.approx(1, abs=0.1)


def test_equal_distributions_are_at_no_distance_on_average():
    """Unlike FID at this size. The mean of 300 draws is within 3.5 standard errors of 0."""
    rng = np.random.default_rng(9)
    values = [kid(rng.normal(size=(30, 6)), rng.normal(size=(60, 6))).value for _ in range(300)]
    assert min(values) < 0
    assert abs(np.mean(values)) < 3.5 * np.std(values) / 300**0.5


def test_labels_that_take_turns_lower_the_value_by_the_spread_between_them():
    """Labels e_1 to e_10 with no spread within: k is 1.1^3 / 1 for the same / other labels, D = 10.

    The unbiased mean over pairs of N = 20 has 1/19 of one label instead of 1/10.
    """
    turns = np.tile(np.eye(10), (2, 1))
    spread = (1.1**3 - 1) * (1 / 10 - 1 / 19)
    assert kid(turns, turns).value == pytest.approx(-2 * spread, rel=1e-9)


def test_the_interval_holds_the_distance_in_95_of_100_cases():
    """N = 100, 1000 draws. The truth is that to these real images, with no chance of samples."""
    real = features(1, 100)
    rng = np.random.default_rng(2)
    truth = kid(rng.normal(0.3, 1, (6000, 6)), real).value
    estimates = [kid(rng.normal(0.3, 1, (100, 6)), real) for _ in range(1000)]
    hits = sum(e.low <= truth <= e.high for e in estimates)
    assert hits >= 930  # conservative: of 1,000 draws, 95 % less three standard errors


def test_the_order_of_samples_and_labels_does_not_change_the_metric():
    asked = np.arange(200) % 10
    drawn, real = features(0, 200) + 3 * asked[:, None], features(1, 100) + 13
    estimates = [measure(KID, seen, [], real) for seen in by_label_and_in_turns(drawn, asked)]
    first, second = map(ends, estimates)
    assert first == pytest.approx(second, rel=1e-12)
    assert estimates[0].low < estimates[0].value < estimates[0].high


def test_too_few_images_are_refused():
    with pytest.raises(DataError, match="2 samples and 30 real images are too few"):
        kid(features(0, 2), features(1, 30))
    with pytest.raises(DataError, match="3 samples and 1 real images are too few"):
        kid(features(0, 3), features(1, 1))
