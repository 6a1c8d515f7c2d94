"""Observations of samples: what a classifier sees in them, or features alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from efface.metrics.base import Observations


def classified(
    asked: Sequence[int], seen: Sequence[int], sure: float = 1.0, classes: int = 3
) -> Observations:
    """The classifier gives `sure` to what it sees, and the rest to the others in equal parts."""
    probabilities = np.full((len(seen), classes), (1 - sure) / (classes - 1), dtype=np.float32)
    probabilities[np.arange(len(seen)), seen] = sure
    return Observations(
        asked=np.array(asked), probabilities=probabilities, features=np.zeros((len(seen), 1))
    )


def with_features(features: np.ndarray, asked: np.ndarray | None = None) -> Observations:
    """Conditioned on labels (N,), or all on the same."""
    count = len(features)
    asked = np.zeros(count, dtype=np.int64) if asked is None else asked
    return Observations(asked=asked, probabilities=np.ones((count, 1)), features=features)


def by_label_and_in_turns(features: np.ndarray, asked: np.ndarray) -> list[Observations]:
    """The same samples in the order given and sorted by label."""
    order = np.argsort(asked, kind="stable")
    return [with_features(features, asked), with_features(features[order], asked[order])]
