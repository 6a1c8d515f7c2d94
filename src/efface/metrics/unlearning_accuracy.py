"""Is it gone: samples asked for under the forgotten label that are not of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from scipy import special

from efface.metrics.base import Metric, Observations, Side
from efface.metrics.intervals import Estimate, bounded_mean, proportion


class UnlearningAccuracy(Metric):
    """Share of forgotten-label samples in which the judge sees none of the forgotten labels.

    UA of SFD (arXiv 2409.11219). The denominator is the samples of the forgotten labels alone.
    """

    name: ClassVar[str] = "unlearning_accuracy"
    side: ClassVar[Side] = "forget"
    unit: ClassVar[str] = "share of samples"
    higher_is_better: ClassVar[bool | None] = True

    def compute(
        self, observed: Observations, forgotten: Sequence[int], reference: np.ndarray | None
    ) -> Estimate:
        del reference
        gone = ~np.isin(observed.seen, forgotten)
        return proportion(int(gone.sum()), len(observed))


class ForgottenProbability(Metric):
    """Mean probability that the judge gives to the forgotten label asked for."""

    name: ClassVar[str] = "forgotten_probability"
    side: ClassVar[Side] = "forget"
    unit: ClassVar[str] = "mean probability"
    higher_is_better: ClassVar[bool | None] = False

    def compute(
        self, observed: Observations, forgotten: Sequence[int], reference: np.ndarray | None
    ) -> Estimate:
        del forgotten, reference
        return bounded_mean(observed.probabilities[np.arange(len(observed)), observed.asked])


class ForgottenEntropy(Metric):
    """Mean entropy of the judge on forgotten-label samples: low where it sees something clear."""

    name: ClassVar[str] = "forgotten_entropy"
    side: ClassVar[Side] = "forget"
    unit: ClassVar[str] = "nats"
    higher_is_better: ClassVar[bool | None] = None

    def compute(
        self, observed: Observations, forgotten: Sequence[int], reference: np.ndarray | None
    ) -> Estimate:
        del forgotten, reference
        p = observed.probabilities.astype(np.float64)
        most = float(np.log(max(p.shape[1], 2)))
        entropy = special.entr(p).sum(1).clip(0, most)
        return bounded_mean(entropy, 0.0, most)
