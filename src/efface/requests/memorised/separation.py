"""Part a prompt's own samples into copies of the memorised picture and all others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from efface.errors import DataError
from efface.requests.memorised.sampling import to_unit
from efface.requests.memorised.similarity import CopyDetector

LEAST_SHARE, MOST_SHARE = 0.05, 0.95  # of copies; beyond, one side is too small to learn from
RESTARTS = 10
MOSTLY = 0.5  # k-means parts anything; a group of copies has at least this share of copies


@dataclass(frozen=True, eq=False, kw_only=True)
class Separation:
    """Which images are copies, which stay, and how far the other criterion agrees.

    Some are on neither side: learning to draw what is nearly a copy would hold what is to go.
    """

    memorised: np.ndarray  # (N,)
    staying: np.ndarray  # (N,)
    similarity: np.ndarray  # (N,) to the reference
    agreement: float  # share of images on which k-means and the similarity threshold agree

    @property
    def count(self) -> int:
        return int(self.memorised.sum())


def cluster(images: Tensor, reference: Tensor, seed: int) -> np.ndarray:
    """k-means with k = 2 on raw pixels: which images (N, C, H, W) uint8 lie in the copies' cluster.

    That is the cluster whose centre is nearest to the reference (C, H, W) in [0, 1]. As published
    (arXiv 2503.01034, code): pixels from 0 to 255, no other features.
    """
    pixels = images.flatten(1).double().numpy()
    kmeans: Any = KMeans(2, random_state=seed)
    fitted = kmeans.set_params(n_init=RESTARTS).fit(pixels)
    away = np.linalg.norm(fitted.cluster_centers_ - 255 * reference.flatten().numpy(), axis=1)
    return fitted.labels_ == away.argmin()


def separate(
    images: Tensor,
    detector: CopyDetector,
    by: Literal["kmeans", "similarity"],
    undecided: float,
    least_rows: int,
    seed: int,
) -> Separation:
    """Part images (N, C, H, W) uint8; DataError where one side has next to nothing.

    Of those that are no copies the share `undecided` that is most alike to the picture is on
    neither side.
    """
    similarity = detector.similarity(to_unit(images))
    close = similarity >= detector.threshold
    clustered = cluster(images, detector.reference, seed)
    memorised = clustered if by == "kmeans" else close
    staying = least_alike(~memorised, similarity, undecided)
    count, total = int(memorised.sum()), len(images)
    enough = min(count, int(staying.sum())) >= least_rows
    if not enough or not LEAST_SHARE <= count / total <= MOST_SHARE:
        raise DataError(
            f"{count} of {total} pictures were told to be copies ({by}), which leaves one side "
            f"too small to learn from (at least {least_rows}, and {LEAST_SHARE:.0%} of all): give "
            "another --modified-prompt, or raise memorised.images."
        )
    alike = int((memorised & close).sum())
    if alike < MOSTLY * count:
        raise DataError(
            f"k-means found two groups among {total} pictures, but only {alike} of the {count} "
            "nearest to the memorised picture are copies: give another --modified-prompt, or set "
            "memorised.copy_similarity."
        )
    return Separation(
        memorised=memorised,
        staying=staying,
        similarity=similarity,
        agreement=float((clustered == close).mean()),
    )


def least_alike(others: np.ndarray, similarity: np.ndarray, left_out: float) -> np.ndarray:
    """Those of `others` (N,) that remain when the share most alike to the picture is left out."""
    rows = np.flatnonzero(others)
    kept = rows[np.argsort(similarity[rows], kind="stable")][
        : len(rows) - int(left_out * len(rows))
    ]
    staying = np.zeros_like(others)
    staying[kept] = True
    return staying


def sides(images: Tensor, separation: Separation) -> tuple[Tensor, Tensor]:
    """Images to forget, and images that stay."""
    return (
        images[torch.from_numpy(separation.memorised)],
        images[torch.from_numpy(separation.staying)],
    )
