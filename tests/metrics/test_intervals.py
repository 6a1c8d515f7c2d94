"""Intervals against closed forms and other ways to them; how often they hold the truth.

Here in few draws, with bounds that leave room for chance; `benchmarks/interval_coverage.py` has
more of both.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from efface.errors import DataError
from efface.metrics.intervals import (
    FEW,
    SMALLEST_SKEWNESS,
    Estimate,
    Measured,
    bounded_mean,
    difference,
    linear,
    mean,
    paired_difference,
    proportion,
    proportion_by_seed,
    ratio,
    share_from_halves,
    split_in_halves,
)
from tests.metrics.ends import ends


def holds(estimate: Estimate, truth: float) -> bool:
    return estimate.low <= truth <= estimate.high


def held(estimates: list[Estimate], truth: float) -> float:
    return float(np.mean([holds(estimate, truth) for estimate in estimates]))


@pytest.mark.parametrize(("successes", "total"), [(0, 10), (10, 10), (1, 2), (37, 500), (899, 900)])
def test_the_ends_of_a_proportion_have_tails_of_a_fortieth(successes, total):
    """Clopper & Pearson: as many hits or more at the lower end, as many or fewer at the upper."""
    estimate = proportion(successes, total)
    assert estimate.value == successes / total
    if successes > 0:
        assert stats.binom.sf(successes - 1, total, estimate.low) == pytest.approx(0.025)
    else:
        assert estimate.low == 0
    if successes < total:
        assert stats.binom.cdf(successes, total, estimate.high) == pytest.approx(0.025)
    else:
        assert estimate.high == 1


@pytest.mark.parametrize("count", [20, 60, 500])
def test_a_proportion_holds_every_share(count):
    """Exactly, by summing over all outcomes."""
    outcomes = np.arange(count + 1)
    found = [proportion(hits, count) for hits in outcomes.tolist()]
    for share in np.linspace(0.001, 0.999, 60):
        chance = stats.binom.pmf(outcomes, count, share)
        assert chance[[holds(estimate, share) for estimate in found]].sum() >= 0.95


@pytest.mark.parametrize(("hits", "count"), [(0, 20), (3, 20), (19, 20), (250, 500)])
def test_a_bounded_mean_of_zeros_and_ones_is_a_proportion(hits, count):
    values = np.arange(count) < hits
    assert ends(bounded_mean(values)) == pytest.approx(ends(proportion(hits, count)), abs=1e-12)
    # Nearly zeros and ones, which take the other way: off by what its approximation is.
    near = np.where(values, 1 - 1e-9, 1e-9)
    assert ends(bounded_mean(near)) == pytest.approx(ends(proportion(hits, count)), abs=1e-3)


def test_a_bounded_mean_has_the_quantiles_of_random_weights():
    """Of Dirichlet weights over the values and an end, drawn; at the ends found, 2.5 % beyond."""
    rng = np.random.default_rng(0)
    values = rng.beta(0.2, 2, 40)
    weights = rng.dirichlet(np.ones(41), 100_000)
    estimate = bounded_mean(values)
    below, above = (weights @ np.append(values, end) for end in (0, 1))
    assert (below < estimate.low).mean() == pytest.approx(0.025, abs=0.002)
    assert (above > estimate.high).mean() == pytest.approx(0.025, abs=0.002)


def test_a_bounded_mean_moves_with_its_ends_and_turns_with_its_values():
    values = np.random.default_rng(1).beta(0.3, 2, 60)
    value, low, high = ends(bounded_mean(values))
    moved = bounded_mean(3 + 2 * values, 3, 5)
    assert ends(moved) == pytest.approx((3 + 2 * value, 3 + 2 * low, 3 + 2 * high), rel=1e-5)
    turned = bounded_mean(1 - values)
    assert ends(turned) == pytest.approx((1 - value, 1 - high, 1 - low), rel=1e-5)


@pytest.mark.parametrize("values", [np.full(30, 1e-30), np.full(30, 1 - 1e-15), np.full(3, 0.3)])
def test_equal_values_leave_room_for_others(values):
    estimate = bounded_mean(values)
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert estimate.high - estimate.low > 0.1


@pytest.mark.parametrize("values", [[], [0.5, 1.2], [-0.1], [float("nan")]])
def test_values_beyond_the_ends_are_refused(values):
    with pytest.raises(DataError, match="missing or outside of"):
        bounded_mean(np.array(values))


@pytest.mark.parametrize("count", [20, 60, 500])
def test_a_mean_of_probabilities_near_zero_holds_the_truth(count):
    """Student's interval holds it in 37 to 85 % of draws. 2.5 standard errors below 95 %."""
    rng = np.random.default_rng(2)
    draws = rng.beta(0.01, 10, (300, count))
    assert held([bounded_mean(values) for values in draws], 0.01 / 10.01) >= 0.92


def test_the_mean_of_values_that_lean_to_no_side_is_students():
    values = np.array([1.0, 2.0, 4.0, 7.0])
    # By hand: mean 3.5, sd sqrt(7), t(0.975; 3) = 3.182446305.
    reach = 3.182446305284263 * math.sqrt(7.0) / 2
    assert ends(mean(values)) == pytest.approx((3.5, 3.5 - reach, 3.5 + reach))
    even = np.concatenate([values, -values])
    assert linear(0.0, even).high == pytest.approx(stats.t.ppf(0.975, 7) * stats.sem(even))


@pytest.mark.parametrize(
    ("count", "confidence"), [(7, 0.95), (8, 0.98), (100, 0.98), (200, 0.96), (250, 0.95)]
)
def test_the_interval_of_a_mean_of_few_values_is_conservative(count, confidence):
    """In a third of 50 values none is what 2 % of all are: their spread does not tell of it."""
    values = np.random.default_rng(8).normal(size=count)
    t = stats.t.ppf((1 + confidence) / 2, count - 1)
    estimate = mean(values)
    reach = max(estimate.high - estimate.value, estimate.value - estimate.low)
    assert reach >= t * stats.sem(values) * (1 - 1e-9)
    assert min(estimate.high - estimate.value, estimate.value - estimate.low) == pytest.approx(
        t * stats.sem(values)
    )


def test_skewness_lengthens_the_side_that_it_leans_to():
    """Hall's transformation, written out: g(T) = T + a T^2 + a^2 T^3 / 3 + a / 2."""
    values = np.random.default_rng(3).exponential(size=40)
    a = float(stats.skew(values, bias=False)) / (3 * 40**0.5)
    estimate, error, t = mean(values), stats.sem(values), stats.t.ppf(0.99, 39)
    low_t = (values.mean() - estimate.high) / error
    assert low_t + a * low_t**2 + a**2 * low_t**3 / 3 + a / 2 == pytest.approx(-t)
    assert estimate.low == pytest.approx(values.mean() - t * error)  # Student's reaches further


def test_few_values_have_students_interval_and_one_none():
    assert SMALLEST_SKEWNESS > 3
    values = np.array([0.0, 0.0, 9.0])
    assert mean(values).high == pytest.approx(3 + stats.t.ppf(0.975, 2) * 3)
    assert ends(mean(np.array([0.25]))) == ends(Estimate(0.25, 0.25, 0.25))


@pytest.mark.parametrize(
    ("count", "shape"), [(3, 16.0), (10, 4.0), (20, 0.5), (60, 0.5), (500, 0.25)]
)
def test_the_interval_of_a_mean_holds_the_truth(count, shape):
    """Gamma with mean 1; 1,500 draws, three standard errors around 92.5 to 97.5 %; of few more."""
    draws = np.random.default_rng(4).gamma(shape, 1 / shape, (1500, count))
    most = 0.985 if count < SMALLEST_SKEWNESS or count >= FEW else 0.995
    assert 0.91 <= held([mean(values) for values in draws], 1.0) <= most


@pytest.mark.parametrize("together", [0.0, 0.8])
@pytest.mark.parametrize(("seeds", "share"), [(20, 0.9), (60, 0.99), (200, 0.9)])
def test_a_share_of_images_that_go_together_holds_the_truth(seeds, together, share):
    rng = np.random.default_rng(7)
    common, own = rng.normal(size=(300, seeds, 1)), rng.normal(size=(300, seeds, 3))
    noise = together**0.5 * common + (1 - together) ** 0.5 * own
    draws = noise < stats.norm.ppf(share)
    assert held([proportion_by_seed(found) for found in draws], share) >= 0.92


def test_a_share_by_seed_of_images_that_are_all_alike_counts_them_once():
    found = np.arange(30)[:, None] % 3 == 0
    for images in (found, found.repeat(4, axis=1)):
        assert ends(proportion_by_seed(images)) == pytest.approx(ends(proportion(10, 30)))
    kept = proportion_by_seed(np.ones((30, 4), dtype=bool))
    assert (kept.value, kept.low) == pytest.approx((1, proportion(30, 30).low))


def paired(result: Estimate, original: Estimate) -> Estimate:
    found = difference(result, original)
    assert found is not None
    return found


def paired_shares(a: np.ndarray, b: np.ndarray) -> Estimate:
    return paired(bounded_mean(a), bounded_mean(b))


@pytest.mark.parametrize("count", [20, 200])
@pytest.mark.parametrize(("gained", "lost"), [(0.0, 0.02), (0.05, 0.01), (0.3, 0.3), (0.0, 0.95)])
def test_paired_shares_hold_the_difference(count, gained, lost):
    rng = np.random.default_rng(8)
    where = rng.random((300, count))
    a, b = where < gained, (where >= gained) & (where < gained + lost)
    found = [paired_shares(*pair) for pair in zip(a, b, strict=True)]
    assert held(found, gained - lost) >= 0.92


def test_paired_shares_tell_what_pairs_do():
    """Equal answers leave a proportion's room; all others are a proportion on twice the scale."""
    same = np.arange(200) % 3 == 0
    room = proportion(0, 200).high
    assert ends(paired_shares(same, same)) == pytest.approx((0, -room, room), rel=1e-2)
    gone = paired_shares(np.zeros(50, dtype=bool), np.ones(50, dtype=bool))
    assert ends(gone) == pytest.approx((-1, -1, 2 * proportion(0, 50).high - 1))
    some = np.arange(200) % 3 < 2
    there, back = paired_shares(some, same), paired_shares(same, some)
    assert ends(there) == pytest.approx((-back.value, -back.high, -back.low), abs=1e-6)


def skewed_pairs(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """1000 x (N,) pairs that share most of their spread; the mean of a - b is 1."""
    rng = np.random.default_rng(seed)
    shared = 10 * rng.normal(size=(1000, count))
    return shared + rng.gamma(4.0, 0.5, (1000, count)), shared + rng.gamma(
        8.0, 0.125, (1000, count)
    )


@pytest.mark.parametrize("count", [3, 8, 30])
def test_the_interval_of_a_paired_difference_holds_the_truth(count):
    estimates = [paired_difference(a, b) for a, b in zip(*skewed_pairs(count, 5), strict=True)]
    assert 0.925 <= held(estimates, 1.0) <= (0.98 if count < SMALLEST_SKEWNESS else 0.995)


def test_pairing_takes_out_what_both_share():
    a, b = (values[0] for values in skewed_pairs(30, 6))
    both = paired_difference(a, b)
    assert both == mean(a - b)
    assert both.high - both.low < 0.2 * (mean(a).high - mean(a).low)


def test_a_paired_difference_turns_and_scales_with_its_values():
    a, b = (values[1] for values in skewed_pairs(20, 7))
    there, back, small = (paired_difference(*p) for p in ((a, b), (b, a), (1e-9 * a, 1e-9 * b)))
    assert ends(back) == pytest.approx((-there.value, -there.high, -there.low))
    assert (1e9 * small.low, 1e9 * small.high) == pytest.approx((there.low, there.high))


@pytest.mark.parametrize("count", [4, 40])
def test_equal_differences_have_no_spread(count):
    estimate = paired_difference(np.full(count, 3.0), np.full(count, 1.0))
    assert ends(estimate) == ends(Estimate(2.0, 2.0, 2.0))


@pytest.mark.parametrize(("a", "b"), [((3,), (4,)), ((0,), (0,)), ((2, 2), (2, 2))])
def test_what_is_not_paired_is_refused(a, b):
    with pytest.raises(DataError, match="are no pairs"):
        paired_difference(np.ones(a), np.ones(b))


def test_a_statistic_that_is_a_mean_has_its_interval():
    values = np.random.default_rng(9).exponential(size=300)
    assert ends(linear(float(values.mean()), 7 + values)) == pytest.approx(ends(mean(values)))


def test_chance_is_within_groups():
    """Groups far apart, two or three values in each; one that is alone deviates from all."""
    rng = np.random.default_rng(10)
    groups, noise = np.arange(50) % 20, rng.normal(size=50)
    found = linear(0.0, noise + 100 * groups, groups)
    variance = np.mean([noise[groups == group].var(ddof=1) for group in range(20)])
    weighted = sum((groups == g).sum() * noise[groups == g].var(ddof=1) for g in range(20)) / 50
    assert (found.errors**2).mean() == pytest.approx(weighted)
    assert weighted == pytest.approx(variance, rel=0.2)
    values = rng.normal(size=30)
    apart = linear(float(values.mean()), values, np.arange(30))  # as if there were no groups
    plain = linear(float(values.mean()), values)
    assert apart.high - apart.low == pytest.approx(plain.high - plain.low, rel=0.02)
    alone = linear(0.0, np.array([0.0, 2.0, 7.0]), np.array([0, 0, 1]))
    assert alone.errors.tolist() == pytest.approx([-(2**0.5), 2**0.5, 4])


def test_roots_and_logarithms_have_the_interval_of_their_scale():
    """By the delta method: of v^(1/2) it is half as long over the root, of log v it is over v."""
    rows = np.random.default_rng(11).normal(size=400)
    reach = (plain := linear(100.0, 50 * rows)).high - 100
    root, log = (linear(100.0, 50 * rows, scale=scale) for scale in ("root", "log"))
    assert root.high == pytest.approx((10 + reach / 20) ** 2)
    assert log.high == pytest.approx(100 * math.exp(reach / 100))
    lifted = linear(90.0, 50 * rows, scale="root", floor=-10)
    assert ends(lifted) == pytest.approx([end - 10 for end in ends(root)])
    near = linear(0.1, 50 * rows, scale="root")
    assert plain.low < 100 and near.low == 0 and near.high > 1
    assert linear(0.0, 50 * rows, scale="root").low == 0
    assert linear(0.0, 50 * rows, scale="root").high == pytest.approx(reach)


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
    """Where halves do not differ every image is on its own: the interval of 80."""
    found = share_from_halves(value, np.full((50, 2), value), 80)
    assert ends(found) == pytest.approx(ends(proportion(round(80 * value), 80)))


def test_the_worth_of_a_share_is_kept_or_doubled():
    """Halves at 0.5 that differ by 0.2: variance 0.02, worth 12.5 images; 25 if it is halved."""
    halves = np.tile([[0.4, 0.6], [0.6, 0.4]], (25, 1))
    for narrowing, worth in ((0.0, 12.5), (1.0, 25.0)):
        found = share_from_halves(0.5, halves, 1000, narrowing=narrowing)
        high = stats.beta.ppf(0.975, worth / 2 + 1, worth / 2)
        assert ends(found) == pytest.approx((0.5, 1 - high, high))
        assert found.errors.tolist() == pytest.approx(halves[:, 0] - halves[:, 1])


def measured(value: float, reach: float, errors: list[float]) -> Measured:
    return Measured(value, value - reach, value + reach, np.array(errors))


@pytest.mark.parametrize(
    ("errors", "reach"),
    [([3.0, -3.0, 0], 1.0), ([-3.0, 3.0, 0], 7.0), ([0, 0, 5.0], 5.0), ([0, 0, 0], 5.0)],
    ids=["together", "against", "apart", "none"],
)
def test_a_difference_is_narrower_where_errors_go_together(errors, reach):
    """Reaches of 4 and 3: their difference, their sum, or the root of the sum of squares."""
    found = paired(measured(30, 4, errors), measured(10, 3, [1.0, -1.0, 0]))
    assert ends(found) == pytest.approx((20, 20 - reach, 20 + reach))


def test_a_ratio_has_its_interval_on_the_scale_of_logarithms():
    one, other = Estimate(8.0, 4.0, 16.0), Estimate(2.0, 1.0, 4.0)  # twice or half
    factor = 2 ** (2**0.5)
    assert ends(ratio(one, other)) == pytest.approx((4, 4 / factor, 4 * factor))
    assert ratio(Estimate(8.0, 0.0, 16.0), other).low == 0
    assert ratio(one, Estimate(2.0, -1.0, 4.0)).high == math.inf


def test_figures_of_the_same_samples_are_paired_and_others_are_not():
    a, b = np.array([True, True, False, True] * 20), np.array([True, False, False, True] * 20)
    assert paired_shares(a, b).value == pytest.approx(0.25)
    assert difference(proportion(60, 80), bounded_mean(b)) is None
    assert difference(bounded_mean(a[:40]), bounded_mean(b)) is None
    assert difference(measured(1, 1, [0, 1]), measured(1, 1, [0, 1, 2])) is None


def test_a_pair_knows_more_than_two_intervals():
    rng = np.random.default_rng(0)
    common = rng.normal(size=300)
    a, b = mean(common + 0.1 * rng.normal(size=300)), mean(common + 0.1 * rng.normal(size=300))
    both = paired(a, b)
    assert both.high - both.low < 0.3 * (a.high - a.low)
