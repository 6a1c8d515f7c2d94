"""Estimates of metrics, and without the errors that pair them with others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from efface.metrics.base import Metric, Observations
from efface.metrics.intervals import Estimate


def ends(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.value, estimate.low, estimate.high


def measure(
    metric: Metric, observed: Observations, forgotten: Sequence[int], real: np.ndarray | None
) -> Estimate:
    """A metric of samples beside forgotten labels and real images."""
    return metric.compute(replace(observed, forgotten=forgotten, real=real))
