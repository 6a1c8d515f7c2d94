"""Kernel distance between samples and real images: unlike FID, unbiased with few samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np

from efface.errors import DataError
from efface.metrics.base import Metric, Observations, Side
from efface.metrics.intervals import BLOCKS, Estimate, from_left_out

ROWS = 1024  # of a kernel matrix at a time, for its memory


def polynomial_kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(a . b / D + 1)^3 for rows (N, D) and (M, D): (N, M) (Binkowski et al., 2018, section 4)."""
    base = a @ b.T / a.shape[1] + 1
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
    blocks = min(BLOCKS, len(drawn))
    member = np.eye(blocks)[np.arange(len(drawn)) % blocks]  # (N, blocks)
    counts = member.sum(0)
    within, across = _block_sums(drawn, real, member)
    between_real = _sum_without_diagonal(real) / (len(real) * (len(real) - 1))

    def statistic(kept: np.ndarray) -> float:
        n = counts[kept].sum()
        own = within[np.ix_(kept, kept)].sum() / (n * (n - 1))
        return float(own + between_real - 2 * across[kept].sum() / (n * len(real)))

    every = np.arange(blocks)
    left_out = np.array([statistic(every[every != block]) for block in every])
    return from_left_out(statistic(every), left_out)


def _block_sums(
    drawn: np.ndarray, real: np.ndarray, member: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Kernel sums between blocks of samples, no sample with itself, and of each with the real."""
    within = -np.diag(member.T @ _kernel_with_itself(drawn))
    across = np.zeros(member.shape[1])
    for rows, columns, kernel in _upper_kernels(drawn):
        sums = member[rows].T @ (kernel @ member[columns])
        within += sums if rows == columns else sums + sums.T
    for start in range(0, len(drawn), ROWS):
        rows = slice(start, start + ROWS)
        across += member[rows].T @ polynomial_kernel(drawn[rows], real).sum(1)
    return within, across


def _upper_kernels(features: np.ndarray) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """The kernel matrix of rows with themselves, symmetric, in pieces on and above its diagonal."""
    parts = [slice(start, start + ROWS) for start in range(0, len(features), ROWS)]
    for n, rows in enumerate(parts):
        for columns in parts[n:]:
            yield rows, columns, polynomial_kernel(features[rows], features[columns])


def _sum_without_diagonal(features: np.ndarray) -> float:
    total = -_kernel_with_itself(features).sum()
    for rows, columns, kernel in _upper_kernels(features):
        total += kernel.sum() * (1 if rows == columns else 2)
    return float(total)


def _kernel_with_itself(features: np.ndarray) -> np.ndarray:
    return ((features**2).sum(1) / features.shape[1] + 1) ** 3


class KID(Metric):
    """Kernel distance of retained-label samples to real images of the retained labels."""

    name: ClassVar[str] = "kid"
    side: ClassVar[Side] = "retain"
    unit: ClassVar[str] = "squared kernel distance"
    higher_is_better: ClassVar[bool | None] = False
    needs_reference: ClassVar[bool] = True

    def compute(
        self, observed: Observations, forgotten: Sequence[int], reference: np.ndarray | None
    ) -> Estimate:
        del forgotten
        assert reference is not None
        return kid(observed.features_by_label, reference)
