"""The contract of a metric, and what all metrics read: what was seen in one pass over samples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from efface.metrics.intervals import Estimate
from efface.records import Spec


@dataclass(frozen=True, eq=False, kw_only=True)
class Observations:
    """What was seen in N samples: by the judge, and by other extractors where there are any."""

    asked: np.ndarray  # (N,) label that each sample was asked for
    probabilities: np.ndarray  # (N, K) of the judge
    features: np.ndarray  # (N, D) of one extractor: the judge, unless it was replaced
    spatial: np.ndarray | None = None  # (N, D') of the same extractor
    prompt_similarity: np.ndarray | None = None  # (N,) cosine of each sample with its prompt
    prompt_quality: np.ndarray | None = None  # (N,) in [0, 1], from opposite prompts

    def __len__(self) -> int:
        return len(self.asked)

    @property
    def seen(self) -> np.ndarray:
        """(N,) label that the judge assigns."""
        return self.probabilities.argmax(1)

    @property
    def features_by_label(self) -> np.ndarray:
        """(N, D) sorted by the label asked for: what `jackknife` needs to spread the labels."""
        return self.features[np.argsort(self.asked, kind="stable")]


class Metric(ABC):
    """A number with an interval, computed from the observations of one side."""

    spec: ClassVar[Spec]
    needs_reference: ClassVar[bool] = False
    needs_spatial: ClassVar[bool] = (
        False  # of samples and reference: pass the latter's spatial ones
    )

    @abstractmethod
    def compute(
        self, observed: Observations, forgotten: Sequence[int], reference: np.ndarray | None
    ) -> Estimate:
        """The metric of N samples; `reference` are features (M, D) of real retained images.

        Samples and reference must have been seen by one extractor. Raises DataError if something
        that the metric reads was not observed.
        """
