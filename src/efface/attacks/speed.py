"""Is it back as late as in a model that never knew it: budgets paired by seed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import special

from efface.records import Speed

Budget = float | None  # None: not within the whole budget


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
