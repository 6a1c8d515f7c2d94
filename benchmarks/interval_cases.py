"""The cases of `interval_coverage.py`: distributions whose truth is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from efface.metrics.coverage import coverage
from efface.metrics.density import density
from efface.metrics.fd import frechet_distance
from efface.metrics.inception_score import inception_score
from efface.metrics.intervals import (
    Estimate,
    bounded_mean,
    difference,
    mean,
    paired_difference,
    proportion,
    proportion_by_seed,
)
from efface.metrics.kid import kid
from efface.metrics.membership_gap import membership_gap
from efface.metrics.recall import recall

BROKEN = 0.02
LABELS = 5
Generator = np.random.Generator
Sampler = Callable[[Generator, int], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One draw gives an estimate for each of `intervals`; without a truth it is the mean value."""

    name: str
    intervals: tuple[str, ...]
    draw: Callable[[Generator], Sequence[Estimate]]
    truth: tuple[float, ...] | None = None


def broken(apart: float, spread: float = 1.0) -> Sampler:
    """Normal values of which 2 % are so far away."""

    def sample(rng: Generator, count: int) -> np.ndarray:
        return rng.normal(size=count) * spread + apart * (rng.random(count) < BROKEN)

    return sample


WITHOUT_ENDS: dict[str, tuple[Sampler, float]] = {
    "normal": (lambda rng, n: rng.normal(size=n), 0.0),
    "exponential": (lambda rng, n: rng.exponential(size=n), 1.0),
    "gamma 0.5": (lambda rng, n: rng.gamma(0.5, 2, n), 1.0),
    "log-normal 0.5": (lambda rng, n: rng.lognormal(0, 0.5, n), float(np.exp(0.125))),
    "log-normal 1": (lambda rng, n: rng.lognormal(0, 1, n), float(np.exp(0.5))),
    "t3": (lambda rng, n: rng.standard_t(3, n), 0.0),
    "broken 5": (broken(5), 5 * BROKEN),
    "broken 10": (broken(10), 10 * BROKEN),
}
PROBABILITIES: dict[str, tuple[Sampler, float]] = {
    "near 0": (lambda rng, n: rng.beta(0.05, 5, n), 0.05 / 5.05),
    "nearly all 0": (lambda rng, n: rng.beta(0.01, 10, n), 0.01 / 10.01),
    "narrow": (lambda rng, n: rng.beta(80, 20, n), 0.8),
    "broken": (
        lambda rng, n: np.where(rng.random(n) < BROKEN, 1.0, 0.01) * rng.random(n),
        (BROKEN + 0.01 * (1 - BROKEN)) / 2,
    ),
}
LOSSES: dict[str, Sampler] = {
    "normal 0.1": lambda rng, n: 1 + 0.1 * rng.normal(size=n),
    "log-normal 1": lambda rng, n: rng.lognormal(-0.5, 1, n),
    "broken 5": lambda rng, n: (1 + 0.2 * rng.normal(size=n)) * (1 + 4 * (rng.random(n) < BROKEN)),
}


def shares() -> Iterator[Case]:
    for count in (20, 100, 1000):
        for share in (0.002, 0.02, 0.1, 0.5, 0.9, 0.99):
            yield Case(
                name=f"share {share:g}, n {count}",
                intervals=("proportion",),
                draw=lambda rng, n=count, p=share: [proportion(int(rng.binomial(n, p)), n)],
                truth=(share,),
            )


def shares_by_seed() -> Iterator[Case]:
    for seeds in (20, 100):
        for together in (0.0, 0.8):
            for share in (0.9, 0.99):

                def draw(
                    rng: Generator, n: int = seeds, rho: float = together, p: float = share
                ) -> list[Estimate]:
                    noise = rho**0.5 * rng.normal(size=(n, 1))
                    noise = noise + (1 - rho) ** 0.5 * rng.normal(size=(n, 3))
                    return [proportion_by_seed(noise < stats.norm.ppf(p))]

                yield Case(
                    name=f"share {share:g}, {seeds} seeds, 3 images, together {together:g}",
                    intervals=("proportion_by_seed",),
                    draw=draw,
                    truth=(share,),
                )


def means() -> Iterator[Case]:
    for count in (20, 50, 100, 1000):
        for name, (sample, truth) in PROBABILITIES.items():
            yield Case(
                name=f"probabilities {name}, n {count}",
                intervals=("bounded_mean",),
                draw=lambda rng, n=count, s=sample: [bounded_mean(s(rng, n))],
                truth=(truth,),
            )
        for name, (sample, truth) in WITHOUT_ENDS.items():
            yield Case(
                name=f"values {name}, n {count}",
                intervals=("mean", "paired_difference"),
                draw=lambda rng, n=count, s=sample: [
                    mean(s(rng, n)),
                    paired_difference(s(rng, n), 0.3 * rng.normal(size=n)),
                ],
                truth=(truth, truth),
            )


def paired(result: Estimate, original: Estimate) -> Estimate:
    found = difference(result, original)
    assert found is not None
    return found


def pairs() -> Iterator[Case]:
    for count in (20, 200):
        for gained, lost in ((0, 0.002), (0.02, 0.02), (0.3, 0.3), (0.02, 0.95)):

            def draw(
                rng: Generator, n: int = count, up: float = gained, down: float = lost
            ) -> list[Estimate]:
                where = rng.random(n)
                both = rng.random(n) < 0.5
                a, b = where < up, (where >= up) & (where < up + down)
                same = where >= up + down
                parts = (bounded_mean(x | (same & both)) for x in (a, b))
                return [paired(*parts)]

            yield Case(
                name=f"pairs, {gained:g} gained, {lost:g} lost, n {count}",
                intervals=("paired_shares",),
                draw=draw,
                truth=(gained - lost,),
            )


def gaps() -> Iterator[Case]:
    for name, sample in LOSSES.items():
        large = np.sort(sample(np.random.default_rng(0), 10**6))
        for factor in (1.0, 0.7):
            auc = 1 - float(np.searchsorted(large, factor * large).mean()) / len(large)
            for forgotten, unseen in ((1, 60), (3, 60), (20, 200)):

                def draw(
                    rng: Generator,
                    s: Sampler = sample,
                    f: float = factor,
                    counts: tuple[int, int] = (forgotten, unseen),
                ) -> list[Estimate]:
                    k, m = counts
                    found = membership_gap(f * s(rng, k)[:, None], s(rng, m)[:, None], [0])
                    return [found.gap, found.auc]

                yield Case(
                    name=f"losses {name}, factor {factor:g}, {forgotten} against {unseen}",
                    intervals=("membership_gap", "membership_auc"),
                    draw=draw,
                    truth=(1 - factor, auc),
                )


def clusters(count: int, dimensions: int, kind: str) -> Callable[[Generator, float], np.ndarray]:
    """Samples (N, D) of labels that take turns, each around a centre of its own."""
    centres = np.random.default_rng(0).normal(size=(LABELS, dimensions))
    asked = np.arange(count) % LABELS

    def draw(rng: Generator, spread: float) -> np.ndarray:
        noise = rng.normal(size=(count, dimensions))
        if kind == "t5":
            noise *= np.sqrt(5 / rng.chisquare(5, (count, 1)))
        features = centres[asked] + spread * noise
        if kind.startswith("broken"):
            bad = rng.random(count) < BROKEN
            features[bad] = float(kind.split()[1]) + 0.1 * noise[bad]
        return features

    return draw


def real_images(dimensions: int) -> np.ndarray:
    count = max(300, 10 * dimensions)
    return clusters(count, dimensions, "normal")(np.random.default_rng(2), 1.0)


DISTANCES = (
    (200, 4, "broken 10"), (200, 16, "broken 5"), (20, 4, "normal"), (200, 4, "normal"),
    (200, 4, "t5"), (100, 64, "normal"), (1000, 4, "broken 10"), (50, 4, "broken 10"),
)  # fmt: skip


def distances() -> Iterator[Case]:
    """Each of a model's samples, and of those of two models from the same noise, in part."""
    for count, dimensions, kind in DISTANCES:
        asked, real = np.arange(count) % LABELS, real_images(dimensions)
        first, second = (clusters(count, dimensions, k) for k in (kind, "normal"))

        def draw(
            rng: Generator,
            of: tuple[Callable[[Generator, float], np.ndarray], ...] = (first, second),
            data: tuple[np.ndarray, np.ndarray] = (asked, real),
        ) -> list[Estimate]:
            labels, reference = data
            original = of[1](rng, 1.1)
            result = 0.6 * of[0](rng, 1.3) + 0.4 * original
            found = []
            for distance in (frechet_distance, kid):
                parts = [distance(x, reference, labels) for x in (result, original)]
                found += [parts[0], paired(*parts)]
            return [*found, mean(density(result, reference))]

        yield Case(
            name=f"features {kind}, n {count}, {dimensions} dimensions",
            intervals=("fd", "fd difference", "kid", "kid difference", "density"),
            draw=draw,
        )


def manifolds() -> Iterator[Case]:
    for count, dimensions, kind in (
        (20, 4, "normal"), (60, 4, "normal"), (200, 4, "normal"), (200, 4, "t5"),
        (200, 4, "broken 10"),
    ):  # fmt: skip
        order = np.argsort(np.arange(count) % LABELS, kind="stable")
        real, sample = real_images(dimensions), clusters(count, dimensions, kind)

        def draw(
            rng: Generator,
            of: Callable[[Generator, float], np.ndarray] = sample,
            data: tuple[np.ndarray, np.ndarray] = (order, real),
        ) -> list[Estimate]:
            rows, reference = data
            original = of(rng, 1.0)[rows]
            result = 0.6 * of(rng, 0.8)[rows] + 0.4 * original
            found = []
            for share in (recall, coverage):
                parts = [share(x, reference) for x in (result, original)]
                found += [parts[0], paired(*parts)]
            return found

        yield Case(
            name=f"images reached {kind}, n {count}, {dimensions} dimensions",
            intervals=("recall", "recall difference", "coverage", "coverage difference"),
            draw=draw,
        )


def scores() -> Iterator[Case]:
    for count in (20, 100, 300):
        for name, bad in (("sure", 0.0), ("broken", BROKEN)):
            asked = np.arange(count) % LABELS

            def draw(
                rng: Generator, labels: np.ndarray = asked, share: float = bad
            ) -> list[Estimate]:
                logits = 2 * rng.normal(size=(len(labels), LABELS)) + 4 * np.eye(LABELS)[labels]
                logits[rng.random(len(labels)) < share] = 0
                odds = np.exp(logits)
                p = odds / odds.sum(1, keepdims=True)
                return [inception_score(p, groups=labels)]

            yield Case(
                name=f"classifications {name}, n {count}", intervals=("inception_score",), draw=draw
            )


CASES = tuple(
    case
    for family in (shares, scores, means, gaps, distances, pairs, shares_by_seed, manifolds)
    for case in family()
)
