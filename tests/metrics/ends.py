"""An estimate without the errors that pair it with another."""

from __future__ import annotations

from efface.metrics.intervals import Estimate


def ends(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.value, estimate.low, estimate.high
