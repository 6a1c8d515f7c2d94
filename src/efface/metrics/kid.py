"""Kernel distance between samples and real images: unlike FID, unbiased with few samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from efface.errors import DataError
from efface.metrics.base import Metric, Observations
from efface.metrics.intervals import BLOCKS, Estimate, from_left_out
from efface.records import Spec

ROWS = 512  # of a kernel matrix at a time: as many stay in a core's cache


def polynomial_kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(a . b / D + 1)^3 for rows (N, D) and (M, D): (N, M) (Binkowski et al., 2018, section 4)."""
    base = a @ (b.T / a.shape[1])
    base += 1
    return base * base * base  # numpy's power is ten times slower


def kid(drawn: np.ndarray, real: np.ndarray) -> Estimate:
    """Unbiased squared MMD of features (N, D) and (M, D) with the polynomial kernel.

    Over all samples at once, which is what the mean over random subsets approaches, without their
    noise. It can be below 0: its mean is 0 for equal distributions if images are independent. Where
    labels take turns they are more even than that, and the value is lower by the kernel's spread
    between labels over N and over M: compare models of one protocol rather than one with 0.
    The grouped jackknife's interval is for the samples' chance; the real images are taken as given.
    Rows are to be sorted by label, as for `jackknife`. Raises DataError for too few images.
    """
    if len(drawn) < 3 or len(real) < 2:
        raise DataError(
            f"{len(drawn)} samples and {len(real)} real images are too few for a kernel distance: "
            "give three and two at least."
        )
    drawn, real = drawn.astype(np.float64), real.astype(np.float64)
    blocks = [drawn[block::BLOCKS] for block in range(min(BLOCKS, len(drawn)))]
    counts = np.array([len(block) for block in blocks])
    across = np.array([_kernel_sum(block, real) for block in blocks])
    within = np.zeros((len(blocks), len(blocks)))  # between blocks, no sample with itself
    for i, block in enumerate(blocks):
        within[i, i] = _sum_without_diagonal(block)
        for j in range(i):
            within[i, j] = within[j, i] = _kernel_sum(block, blocks[j])
    between_real = _sum_without_diagonal(real) / (len(real) * (len(real) - 1))

    def statistic(kept: np.ndarray) -> float:
        n = counts[kept].sum()
        own = within[np.ix_(kept, kept)].sum() / (n * (n - 1))
        return float(own + between_real - 2 * across[kept].sum() / (n * len(real)))

    every = np.arange(len(blocks))
    left_out = np.array([statistic(every[every != block]) for block in every])
    return from_left_out(statistic(every), left_out)


def _kernel_sum(a: np.ndarray, b: np.ndarray) -> float:
    """Of the kernel between all rows of (N, D) and (M, D), some at a time."""
    return sum(
        float(polynomial_kernel(a[i : i + ROWS], b[j : j + ROWS]).sum())
        for i in range(0, len(a), ROWS)
        for j in range(0, len(b), ROWS)
    )


def _sum_without_diagonal(features: np.ndarray) -> float:
    """Of the symmetric kernel of rows (N, D) with each other, none with itself."""
    total = 0.0
    for i in range(0, len(features), ROWS):
        rows = features[i : i + ROWS]
        total += float(polynomial_kernel(rows, rows).sum())
        total += 2 * _kernel_sum(rows, features[i + ROWS :])
    itself = ((features**2).sum(1) / features.shape[1] + 1) ** 3
    return total - float(itself.sum())


class KID(Metric):
    """Kernel distance of retained-label samples to real images of the retained labels."""

    spec: ClassVar[Spec] = Spec(
        name="kid",
        label="KID",
        meaning="distance from real images, unbiased with few samples too",
        unit="squared kernel distance",
        side="retain",
        better="less",
    )
    needs_reference: ClassVar[bool] = True

    def compute(
        self, observed: Observations, forgotten: Sequence[int], reference: np.ndarray | None
    ) -> Estimate:
        del forgotten
        assert reference is not None
        return kid(observed.features_by_label, reference)
