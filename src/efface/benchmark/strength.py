"""Which value of a strength is reported: chosen by the runs of the selection alone."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from efface.benchmark.file import MethodRow, Scalar
from efface.benchmark.results import BenchRun, Tried

WITHIN = 1.0  # margins


def choose(row: MethodRow, runs: Sequence[BenchRun]) -> list[Tried]:
    """What came of every value, one of which is chosen unless all are out.

    Out is a value with a run that failed or collapsed. Of the others those count that keep the mean
    of every figure that decides, of forgetting and of the rest, within its margin: the cheapest in
    forwards is chosen, of several the first in the file. Where there is none, the value is chosen
    whose worst figure exceeds its margin least.
    """
    tried = [
        _try(row.name, value, [run for run in runs if (run.row, run.value) == (row.name, value)])
        for value in row.values
        if value is not None
    ]
    within = [one for one in tried if one.excess is not None and one.excess <= WITHIN]
    best = min(within, key=_cost, default=None)
    if best is None:
        usable = [one for one in tried if one.excess is not None]
        best = min(usable, key=lambda one: one.excess or 0.0, default=None)
    return [one.model_copy(update={"chosen": one is best}) for one in tried]


def chosen_value(tried: Sequence[Tried]) -> Scalar | None:
    """The value that was chosen; None where all are out."""
    return next((one.value for one in tried if one.chosen), None)


def _cost(tried: Tried) -> float:
    return math.inf if tried.forwards is None else tried.forwards


def _try(row: str, value: Scalar, runs: Sequence[BenchRun]) -> Tried:
    costs = [run.forwards for run in runs if run.forwards is not None]
    cost = statistics.fmean(costs) if costs else None
    lost = [run for run in runs if run.status != "finished"]
    if lost or not runs:
        reason = lost[0].reason or lost[0].status if lost else "not run"
        return Tried(row=row, value=value, forwards=cost, excess=None, reason=reason)
    names = dict.fromkeys(name for run in runs for name in run.excess)
    means = {
        name: statistics.fmean(run.excess[name] for run in runs if name in run.excess)
        for name in names
    }
    if not means:
        return Tried(row=row, value=value, forwards=cost, excess=None, reason="nothing measured")
    worst = max(means, key=lambda name: means[name])
    reason = "all within their margins" if means[worst] <= WITHIN else f"worst: {worst}"
    return Tried(row=row, value=value, forwards=cost, excess=means[worst], reason=reason)
