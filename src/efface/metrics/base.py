"""The contract of a metric, and what all metrics read: what was seen in one pass over samples."""

import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from efface.errors import DataError
from efface.metrics.intervals import Estimate
from efface.records import Spec

ENTRY_POINTS = "efface.metrics"  # where other packages register metrics of their own
SeenBy = Literal["judge", "extractor", "clip"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Observations:
    """What was seen in N samples: by the judge, and by other extractors where there are any."""

    asked: np.ndarray  # (N,) label that each sample was asked for
    probabilities: np.ndarray  # (N, K) of the judge
    features: np.ndarray  # (N, D) of one extractor: the judge, unless it was replaced
    spatial: np.ndarray | None = None  # (N, D') of the same extractor
    prompt_similarity: np.ndarray | None = None  # (N,) cosine of each sample with its prompt
    prompt_quality: np.ndarray | None = None  # (N,) in [0, 1], from opposite prompts
    forgotten: Sequence[int] = ()  # labels
    real: np.ndarray | None = None  # (M, D) features of real retained images, or (M, D') spatial

    @property
    def reference(self) -> np.ndarray:
        """Features of real images by the same extractor; DataError where there are none."""
        if self.real is None:
            raise DataError("this metric compares samples with real images: give a reference.")
        return self.real

    def __len__(self) -> int:
        return len(self.asked)

    def of_label(self, label: int) -> "Observations":
        """Samples that were asked for one label, as a judge sees them."""
        rows = self.asked == label
        return Observations(
            asked=self.asked[rows],
            probabilities=self.probabilities[rows],
            features=self.features[rows],
        )

    @property
    def seen(self) -> np.ndarray:
        """(N,) label that the judge assigns."""
        return self.probabilities.argmax(1)

    @property
    def features_by_label(self) -> np.ndarray:
        """(N, D) sorted by the label asked for, as `split_in_halves` needs them."""
        return self.features[np.argsort(self.asked, kind="stable")]


@dataclass(frozen=True, eq=False, kw_only=True)
class Metric:
    """A figure with an interval, computed from the observations of one side."""

    spec: Spec
    compute: Callable[[Observations], Estimate]
    needs_reference: bool = False
    needs_spatial: bool = False  # of samples and reference
    samples: Callable[[Observations], int] = len  # how many the figure is of
    seen_by: SeenBy = "judge"  # whose observations it reads


def added_metrics(seen_by: SeenBy) -> tuple[Metric, ...]:
    """Metrics that other packages register as entry points."""
    found = [entry.load() for entry in importlib.metadata.entry_points(group=ENTRY_POINTS)]
    return tuple(metric for metric in found if metric.seen_by == seen_by)
