"""Intervals against closed forms, and how often they hold the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from efface.errors import DataError
from efface.metrics.intervals import (
    BLOCKS,
    SMALLEST_BOOTSTRAP,
    Estimate,
    distance_from_parts,
    distance_interval,
    from_left_out,
    jackknife,
    mean,
    paired_difference,
    proportion,
    proportion_by_seed,
    share_from_halves,
    split_in_halves,
    split_in_quarters,
)

Z = 1.959963984540054  # the 97.5 % point of the normal distribution


@pytest.mark.parametrize(("successes", "total"), [(0, 10), (10, 10), (1, 2), (37, 500), (899, 900)])
def test_proportion_is_wilsons_interval(successes, total):
    share = successes / total
    centre = (share + Z**2 / (2 * total)) / (1 + Z**2 / total)
    reach = Z * math.sqrt(share * (1 - share) / total + Z**2 / (4 * total**2)) / (1 + Z**2 / total)
    estimate = proportion(successes, total)
    assert estimate.value == share
    assert (estimate.low, estimate.high) == pytest.approx(
        (centre - reach, centre + reach), abs=1e-12
    )
    assert 0 <= estimate.low <= share <= estimate.high <= 1


def test_mean_is_students_interval():
    values = np.array([1.0, 2.0, 4.0, 7.0])
    # By hand: mean 3.5, sd sqrt(7), t(0.975; 3) = 3.182446305.
    reach = 3.182446305284263 * math.sqrt(7.0) / 2
    estimate = mean(values)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx(
        (3.5, 3.5 - reach, 3.5 + reach)
    )


def test_one_value_has_no_interval():
    estimate = mean(np.array([0.25]))
    assert (estimate.value, estimate.low, estimate.high) == (0.25, 0.25, 0.25)


@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_the_jackknife_of_a_mean_is_students_interval_of_block_means(confidence):
    values = np.random.default_rng(0).normal(size=200)
    block_means = values.reshape(10, BLOCKS).mean(0)
    low, high = stats.t.interval(confidence, BLOCKS - 1, block_means.mean(), stats.sem(block_means))
    estimate = jackknife(lambda rows: values[rows].mean(), 200, confidence=confidence)
    assert estimate.value == pytest.approx(values.mean(), abs=1e-14)
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=1e-12)


def test_the_jackknife_of_single_rows_is_the_classical_one():
    """With one row per block, the variance of a mean is s^2 / n (Efron, 1982)."""
    values = np.random.default_rng(1).exponential(size=12)
    estimate = jackknife(lambda rows: values[rows].mean(), 12)  # fewer rows than blocks
    low, high = stats.t.interval(0.95, 11, values.mean(), stats.sem(values))
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=1e-12)


def test_blocks_hold_every_label_of_rows_sorted_by_label():
    """Else the spread between labels would be taken for chance."""
    labels = np.arange(9).repeat(100)
    kept: list[np.ndarray] = []
    jackknife(lambda rows: kept.append(np.bincount(labels[rows])) or 0.0, 900)
    assert len(kept) == 1 + BLOCKS
    assert all((counts == 95).all() for counts in kept[1:])


@pytest.mark.parametrize(
    ("statistic", "truth"),
    [
        pytest.param(np.mean, 1.0, id="mean"),
        pytest.param(lambda x: x.var(ddof=1), 1.0, id="variance"),
        pytest.param(lambda x: math.log(x.mean()), 0.0, id="log mean"),
    ],
)
def test_the_jackknifes_interval_holds_the_truth_in_95_of_100_cases(statistic, truth):
    """Skewed samples, on purpose: gamma with mean 1 and variance 1/4, scaled where needed."""
    rng = np.random.default_rng(2)
    scale = 2.0 if statistic not in (np.mean,) and truth == 1.0 else 1.0
    hits = 0
    for _ in range(1000):
        values = scale * rng.gamma(4.0, 0.25, 400)
        estimate = jackknife(lambda rows, values=values: float(statistic(values[rows])), 400)
        hits += estimate.low <= truth <= estimate.high
    assert 930 <= hits <= 970


def holds(estimate: Estimate, truth: float) -> bool:
    return estimate.low <= truth <= estimate.high


@pytest.mark.parametrize(
    ("share", "total"), [(0.4, 60), (0.3, 200), (0.9, 100), (0.95, 500), (0.02, 900)]
)
def test_the_interval_of_a_proportion_holds_the_truth_in_95_of_100_cases(share, total):
    successes = np.random.default_rng(3).binomial(total, share, 1000).tolist()
    estimates = {n: proportion(n, total) for n in set(successes)}
    assert 930 <= sum(holds(estimates[n], share) for n in successes) <= 970


@pytest.mark.parametrize(
    ("seeds", "together", "share"),
    [(20, 0.3, 0.9), (20, 0.8, 0.5), (200, 0.3, 0.5), (200, 0.8, 0.9)],
)
def test_a_share_of_images_that_go_together_holds_the_truth_in_95_of_100_cases(
    seeds, together, share
):
    """Three images a seed with noise in common: Wilson's interval of all of them would not."""
    rng = np.random.default_rng(7)
    common, own = rng.normal(size=(1000, seeds, 1)), rng.normal(size=(1000, seeds, 3))
    noise = together**0.5 * common + (1 - together) ** 0.5 * own
    draws = noise < stats.norm.ppf(share)
    assert 930 <= sum(holds(proportion_by_seed(found), share) for found in draws) <= 970
    successes = draws.sum((1, 2)).tolist()
    pooled = {n: proportion(n, 3 * seeds) for n in set(successes)}
    assert sum(holds(pooled[n], share) for n in successes) < 930


def test_a_share_by_seed_is_worth_all_images_or_one_a_seed():
    """Of one image each it is Wilson's interval; images that are all alike count once."""
    found = np.arange(30)[:, None] % 3 == 0
    expected = proportion(10, 30)
    for images in (found, found.repeat(4, axis=1)):
        estimate = proportion_by_seed(images)
        assert (estimate.value, estimate.low, estimate.high) == pytest.approx(
            (expected.value, expected.low, expected.high), abs=1e-12
        )
    kept = proportion_by_seed(np.ones((30, 4), dtype=bool))
    assert (kept.value, kept.low) == pytest.approx((1, proportion(30, 30).low))
    apart = np.tile([True, False], (30, 1))  # every seed alike, and yet half of the images
    assert proportion_by_seed(apart).low == pytest.approx(proportion(15, 30).low)


@pytest.mark.parametrize(("count", "shape"), [(3, 16.0), (10, 4.0), (100, 1.0), (500, 0.5)])
def test_the_interval_of_a_mean_holds_the_truth_in_95_of_100_cases(count, shape):
    """Gamma with mean 1: the more values, the more skewed they may be."""
    draws = np.random.default_rng(4).gamma(shape, 1 / shape, (1000, count))
    assert 930 <= sum(holds(mean(values), 1.0) for values in draws) <= 970


def skewed_pairs(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """1000 x (N,) pairs that share most of their spread; the mean of a - b is 1."""
    rng = np.random.default_rng(seed)
    shared = 10 * rng.normal(size=(1000, count))
    return shared + rng.gamma(4.0, 0.5, (1000, count)), shared + rng.gamma(
        8.0, 0.125, (1000, count)
    )


@pytest.mark.parametrize("count", [3, SMALLEST_BOOTSTRAP, 30])
def test_the_interval_of_a_paired_difference_holds_the_truth_in_95_of_100_cases(count):
    estimates = [paired_difference(a, b) for a, b in zip(*skewed_pairs(count, 5), strict=True)]
    assert 930 <= sum(holds(e, 1.0) for e in estimates) <= 970


def test_pairing_takes_out_what_both_share():
    a, b = (values[0] for values in skewed_pairs(30, 6))
    paired = paired_difference(a, b)
    assert paired.value == pytest.approx(float(a.mean() - b.mean()))
    assert paired.high - paired.low < 0.2 * (mean(a).high - mean(a).low)
    moved = paired_difference(a + np.arange(30), b + np.arange(30))
    assert (moved.low, moved.high) == pytest.approx((paired.low, paired.high))


def test_a_paired_difference_the_other_way_round_is_its_mirror_image():
    a, b = (values[1] for values in skewed_pairs(20, 7))
    there, back = paired_difference(a, b), paired_difference(b, a)
    assert (back.value, back.low, back.high) == pytest.approx(
        (-there.value, -there.high, -there.low)
    )
    assert paired_difference(a, b) == there
    assert paired_difference(a, b, seed=1) != there


def test_a_paired_difference_scales_with_its_unit():
    a, b = (values[2] for values in skewed_pairs(20, 8))
    small, plain = paired_difference(1e-9 * a, 1e-9 * b), paired_difference(a, b)
    assert (1e9 * small.low, 1e9 * small.high) == pytest.approx((plain.low, plain.high), rel=1e-4)


def test_few_pairs_have_students_interval():
    a, b = np.array([3.0, 5.0, 4.0]), np.array([1.0, 2.0, 4.0])
    assert paired_difference(a, b) == mean(np.array([2.0, 3.0, 0.0]))


@pytest.mark.parametrize("count", [4, 40])
def test_equal_differences_have_no_spread(count):
    estimate = paired_difference(np.full(count, 3.0), np.full(count, 1.0))
    assert estimate == Estimate(2.0, 2.0, 2.0)


def test_rare_differences_have_a_finite_interval():
    """Many resamples of 3 ones among 200 zeros are all zero: they tell nothing of the error."""
    a = np.zeros(200)
    a[:3] = 1
    estimate = paired_difference(a, np.zeros(200))
    assert -0.1 < estimate.low < 0.015 < estimate.high < 0.2


@pytest.mark.parametrize(("a", "b"), [((3,), (4,)), ((0,), (0,)), ((2, 2), (2, 2))])
def test_what_is_not_paired_is_refused(a, b):
    with pytest.raises(DataError, match="are no pairs"):
        paired_difference(np.ones(a), np.ones(b))


def test_values_without_each_block_make_the_jackknife():
    values = np.random.default_rng(9).normal(size=100)
    left_out = [float(values[np.arange(100) % BLOCKS != b].mean()) for b in range(BLOCKS)]
    estimate = jackknife(lambda rows: float(values[rows].mean()), 100)
    assert from_left_out(float(values.mean()), np.array(left_out)) == estimate


@pytest.mark.parametrize("count", [2, 9, 40])
def test_halves_hold_as_many_of_each_label(count):
    """Rows sorted by label, two of each: one goes to either half, by chance the first or second."""
    first = split_in_halves(count, splits=400)
    assert first.shape == (400, count)
    pairs = first[:, : count // 2 * 2].reshape(400, -1, 2)
    assert (pairs.sum(2) == 1).all()
    assert 0.4 < first.mean() < 0.6 and np.ptp(first.mean(0)) < 0.25
    assert (split_in_halves(count, splits=400) == first).all()


@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
def test_a_share_of_equal_halves_is_worth_all_images(value):
    """Where halves do not differ every image is on its own: Wilson's interval of 80."""
    found = share_from_halves(value, np.full((50, 2), value), 80)
    expected = proportion(round(80 * value), 80)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_the_worth_of_a_share_is_kept_or_doubled():
    """Halves at 0.5 that differ by 0.2: variance 0.02, worth 12.5 images; 25 if it is halved."""
    halves = np.tile([[0.4, 0.6], [0.6, 0.4]], (25, 1))
    for narrowing, worth in ((0.0, 12.5), (1.0, 25.0)):
        found = share_from_halves(0.5, halves, 1000, narrowing=narrowing)
        z = 1.959964
        reach = z / (1 + z**2 / worth) * (0.25 / worth + z**2 / (4 * worth**2)) ** 0.5
        assert (found.low, found.high) == pytest.approx((0.5 - reach, 0.5 + reach), abs=1e-6)


def pairs_without(value: float, left_out: np.ndarray) -> np.ndarray:
    """Values without two blocks each that do nothing together: what each does adds up."""
    first, second = np.triu_indices(len(left_out), 1)
    return left_out[first] + left_out[second] - value


def test_the_interval_of_a_distance_is_that_of_its_root():
    """Far from 0 it is nearly the jackknife's; near 0 it stays above."""
    left_out = 100 + np.random.default_rng(0).normal(size=20)
    far = distance_interval(100.0, left_out, pairs_without(100.0, left_out))
    plain = from_left_out(100.0, left_out)
    assert far.low == pytest.approx(plain.low, abs=0.2)
    assert far.high == pytest.approx(plain.high, abs=0.2)
    reach = (plain.high - 100) / 2 / 10
    assert (far.low, far.high) == pytest.approx(((10 - reach) ** 2, (10 + reach) ** 2))
    near = distance_interval(0.5, left_out, pairs_without(0.5, left_out))
    assert near.low == 0 and near.high > 0.5
    nothing = distance_interval(0.0, np.zeros(20), np.zeros(190))
    assert (nothing.value, nothing.low, nothing.high) == (0, 0, 0)


def test_what_pairs_of_blocks_do_together_is_taken_off_by_a_quarter():
    left_out = 50 - np.random.default_rng(1).normal(size=20)
    together = 0.2 * np.random.default_rng(2).choice([-1.0, 1.0], 190)
    narrower = distance_interval(50.0, left_out, pairs_without(50.0, left_out) + together)
    variance = 19 / 20 * ((left_out - left_out.mean()) ** 2).sum()
    excess = ((together - together.mean()) ** 2).sum()
    reach = stats.t.ppf(0.975, 19) * math.sqrt(variance - excess / 4) / (2 * math.sqrt(50))
    assert narrower.high == pytest.approx((math.sqrt(50) + reach) ** 2)


@pytest.mark.parametrize("count", [8, 11, 40])
def test_quarters_hold_as_many_of_each_label(count):
    quarter = split_in_quarters(count, 400)
    assert quarter.shape == (400, count)
    fours = np.sort(quarter[:, : count // 4 * 4].reshape(400, -1, 4), axis=2)
    assert (fours == np.arange(4)).all()
    assert (np.abs((quarter == 0).mean(0) - 0.25) < 0.08).all()
    assert (split_in_quarters(count, 400) == quarter).all()


@pytest.mark.parametrize(
    ("at_half", "at_quarter", "at_all"),
    [
        pytest.param(2, 4, 1, id="a over N"),
        pytest.param(4, 16, 1, id="b over N squared"),
        pytest.param(6, 20, 2, id="both"),
        pytest.param(2, 2, 1, id="b would be below 0"),
        pytest.param(4, 40, 1, id="a would be below 0"),
    ],
)
def test_the_variance_at_all_rows_follows_from_that_at_parts(at_half, at_quarter, at_all):
    """Values two apart have a variance of 2, four at -1, -1, 1 and 1 one of 4 / 3."""
    halves = 100 + (at_half / 2) ** 0.5 * np.tile([-1.0, 1.0], (100, 1))
    quarters = 100 + (at_quarter * 0.75) ** 0.5 * np.tile([-1.0, 1.0, 1.0, -1.0], (25, 1))
    estimate = distance_from_parts(100.0, halves, quarters, 11)
    reach = stats.t.ppf(0.975, 11) * at_all**0.5 / 20
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx(
        (100, (10 - reach) ** 2, (10 + reach) ** 2)
    )
