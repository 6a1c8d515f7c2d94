"""Is it gone: samples asked for under the forgotten label that are not of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from efface.metrics.base import Metric, Observations
from efface.metrics.intervals import Estimate, mean, proportion
from efface.records import Spec


class UnlearningAccuracy(Metric):
    """Share of forgotten-label samples in which the judge sees none of the forgotten labels.

    UA of SFD (arXiv 2409.11219). The denominator is the samples of the forgotten labels alone.
    """

    spec: ClassVar[Spec] = Spec(
        name="unlearning_accuracy",
        label="Unlearning accuracy",
        meaning="samples of the forgotten class in which the classifier does not see it",
        unit="share of samples",
        side="forget",
        better="more",
    )

    def compute(
        self, observed: Observations, forgotten: Sequence[int], reference: np.ndarray | None
    ) -> Estimate:
        del reference
        gone = ~np.isin(observed.seen, forgotten)
        return proportion(int(gone.sum()), len(observed))


class ForgottenProbability(Metric):
    """Mean probability that the judge gives to the forgotten label asked for."""

    spec: ClassVar[Spec] = Spec(
        name="forgotten_probability",
        label="Forgotten probability",
        meaning="mean probability that the classifier gives to the forgotten class",
        unit="mean probability",
        side="forget",
        better="less",
    )

    def compute(
        self, observed: Observations, forgotten: Sequence[int], reference: np.ndarray | None
    ) -> Estimate:
        del forgotten, reference
        return mean(observed.probabilities[np.arange(len(observed)), observed.asked])


class ForgottenEntropy(Metric):
    """Mean entropy of the judge on forgotten-label samples: low where it sees something clear."""

    spec: ClassVar[Spec] = Spec(
        name="forgotten_entropy",
        label="Forgotten entropy",
        meaning="how undecided the classifier is there: low where it sees something clear",
        unit="nats",
        side="forget",
    )

    def compute(
        self, observed: Observations, forgotten: Sequence[int], reference: np.ndarray | None
    ) -> Estimate:
        del forgotten, reference
        p = observed.probabilities.astype(np.float64)
        return mean(-(p * np.log(np.clip(p, 1e-30, None))).sum(1))
