"""What an attack costs: budgets at which shares are back, also beside a retrained model's."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from efface.metrics.intervals import Estimate
from efface.records import Budget, Cost, Point, Rate, Speed

SHARES = HALF, MOST = (0.5, 0.9)  # of the way from the floor to the level
ZERO = Estimate(0.0, 0.0, 0.0)  # the floor where there is neither a retrained model nor a control


@dataclass(frozen=True, eq=False, kw_only=True)
class Trial:
    """A model attacked once: a curve, and what it was attacked with."""

    points: Sequence[Point]
    images: int | None = None
    rate: float | None = None  # learning rate


@dataclass(frozen=True, kw_only=True)
class Scale:
    """From what a model without it shows, the floor, to what the original model shows."""

    level: Estimate
    floor: Estimate

    @property
    def are_apart(self) -> bool:
        """Whether the original model stands out, intervals apart."""
        return self.level.low > self.floor.high

    def budget(self, points: Sequence[Point], share: float) -> float | None:
        """Where a share is first back; None if it is not within the whole budget."""
        span = self.level.value - self.floor.value
        return crossing(points, self.floor.value + share * span) if span > 0 else None

    def costs(self, trial: Trial) -> list[Cost]:
        return [
            Cost(share=share, budget=self.budget(trial.points, share), images=trial.images)
            for share in SHARES
        ]

    def best(self, trials: Sequence[Trial]) -> Trial:
        """The one that has half back for least, then most; where none has, the one that got on."""

        def rank(trial: Trial) -> tuple[float, float, float]:
            half, most = (self.budget(trial.points, share) for share in SHARES)
            highest = max(point.value for point in trial.points)
            return _or_never(half), _or_never(most), -highest

        return min(trials, key=rank)

    def rates(self, trials: Sequence[Trial]) -> list[Rate]:
        """What came of every learning rate, where several were tried."""
        return [
            Rate(
                rate=trial.rate,
                half=self.budget(trial.points, HALF),
                most=self.budget(trial.points, MOST),
                highest=max(point.value for point in trial.points),
            )
            for trial in trials
            if trial.rate is not None
        ]


def _or_never(budget: float | None) -> float:
    return math.inf if budget is None else budget


def crossing(points: Sequence[Point], wanted: float) -> float | None:
    """Where a curve first reaches `wanted`, linear between its points; None if it never does."""
    before = None
    for now in points:
        if now.value >= wanted:
            if before is None:
                return now.x
            share = (wanted - before.value) / (now.value - before.value)
            return before.x + share * (now.x - before.x)
        before = now
    return None


def point(x: float, estimate: Estimate) -> Point:
    return Point(x=x, value=estimate.value, low=estimate.low, high=estimate.high)


def estimate(at: Point) -> Estimate:
    return Estimate(at.value, at.low, at.high)


def described(estimate: Estimate) -> str:
    return f"{estimate.value:.1%} ({estimate.low:.1%} to {estimate.high:.1%})"


def compare_budgets(
    line: str, seeds: Sequence[int], pairs: Sequence[tuple[Budget, Budget]], whole: float
) -> Speed:
    """How the budgets of a result compare with those of a retrained model, seed by seed.

    The ratio of relearning times is the anamnesis index of Chundawat et al. (2023). Its interval is
    that of the median of the seeds' ratios, from two of them in their order (Thompson, 1936): it
    holds whatever their distribution. Six are the fewest for 95 %, which they exceed at 96.9 %.
    What was not reached within the `whole` budget takes more: a ratio is then known from one side.
    """
    bounds = [_ratio(result, retrained, whole) for result, retrained in pairs]
    low, high = sorted(low for low, _ in bounds), sorted(high for _, high in bounds)
    middle = [float(np.median(ends)) if ends else math.nan for ends in (low, high)]
    rank = int((special.bdtr(np.arange(len(pairs)), len(pairs), 0.5) <= 0.025).sum())
    ends = (low[rank - 1], high[-rank]) if rank else (0.0, math.inf)
    return Speed(
        line=line,
        seeds=list(seeds),
        budgets=[result for result, _ in pairs],
        retrained=[retrained for _, retrained in pairs],
        ratio=middle[0] if middle[0] == middle[1] else None,
        low=ends[0],
        high=ends[1] if math.isfinite(ends[1]) else None,
    )


def _ratio(result: Budget, retrained: Budget, whole: float) -> tuple[float, float]:
    """The least and the greatest that a ratio of budgets can be."""
    if result is None:
        return whole / retrained if retrained else 0.0, math.inf
    if retrained is None:
        return 0.0, result / whole
    if retrained == 0:
        return 0.0, math.inf
    return result / retrained, result / retrained
