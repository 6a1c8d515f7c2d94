"""Is it gone: samples conditioned on the forgotten label that do not show it.

UA of SFD (arXiv 2409.11219). The denominator is the samples of the forgotten labels alone.
"""

from collections.abc import Sequence

import numpy as np
from scipy import special

from efface.metrics.base import Metric, Observations
from efface.metrics.intervals import Estimate, Measured, bounded_mean
from efface.records import Spec


def unlearning_accuracy(labels: np.ndarray, forgotten: Sequence[int]) -> Measured:
    """Share of samples in which a classifier sees no forgotten label, in [0, 1].

    `labels` (N,) are what it sees in samples conditioned on the forgotten labels alone. The
    interval is conservative.
    """
    return bounded_mean(~np.isin(labels, forgotten))


UNLEARNING_ACCURACY = Metric(
    compute=lambda seen: unlearning_accuracy(seen.seen, seen.forgotten),
    spec=Spec(
        name="unlearning_accuracy",
        label="Unlearning accuracy",
        meaning="samples of the forgotten class in which the classifier does not see it",
        unit="share of samples",
        side="forget",
        better="more",
    ),
)

FORGOTTEN_PROBABILITY = Metric(
    compute=lambda seen: bounded_mean(seen.probabilities[np.arange(len(seen)), seen.asked]),
    spec=Spec(
        name="forgotten_probability",
        label="Forgotten probability",
        meaning="mean probability that the classifier gives to the forgotten class",
        unit="mean probability",
        side="forget",
        better="less",
    ),
)


def _forgotten_entropy(seen: Observations) -> Estimate:
    """Mean entropy of the judge on forgotten-label samples: low where it sees something clear."""
    p = seen.probabilities.astype(np.float64)
    most = float(np.log(max(p.shape[1], 2)))
    entropy = special.entr(p).sum(1).clip(0, most)
    return bounded_mean(entropy, 0.0, most)


FORGOTTEN_ENTROPY = Metric(
    compute=_forgotten_entropy,
    spec=Spec(
        name="forgotten_entropy",
        label="Forgotten entropy",
        meaning="how undecided the classifier is there: low where it sees something clear",
        unit="nats",
        side="forget",
    ),
)
