"""Separate a prompt's own samples into copies of the memorised image and all others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from efface.errors import DataError
from efface.requests.memorised.sampling import to_unit
from efface.requests.memorised.settings import MemorisedSettings
from efface.requests.memorised.similarity import CopyDetector

LEAST_SHARE, MOST_SHARE = 0.05, 0.95  # of copies; beyond, one side is too small to learn from
RESTARTS = 10
MOSTLY = 0.5  # k-means splits anything; a cluster of copies has at least this share of copies


@dataclass(frozen=True, eq=False, kw_only=True)
class Separation:
    """Which images are copies, which are others, and how far the other criterion agrees.

    Some are on neither side: learning to generate near-copies would retain what is to be forgotten.
    """

    copies: Tensor  # (N,) bool
    others: Tensor  # (N,) bool
    similarity: Tensor  # (N,) to the reference
    agreement: float  # share of images on which k-means and the similarity threshold agree


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


def separate(images: Tensor, detector: CopyDetector, settings: MemorisedSettings) -> Separation:
    """Separate images (N, C, H, W) uint8; DataError where one side has next to nothing.

    Of those that are no copies the share `undecided` that is most similar to the memorised image is
    on neither side.
    """
    similarity = detector.similarity(to_unit(images))
    close = similarity >= detector.threshold
    clustered = cluster(images, detector.reference, settings.seed)
    copies = clustered if settings.split == "kmeans" else close
    others = least_similar(~copies, similarity, settings.undecided)
    count, total, least = int(copies.sum()), len(images), settings.least_rows
    enough = min(count, int(others.sum())) >= least
    if not enough or not LEAST_SHARE <= count / total <= MOST_SHARE:
        raise DataError(
            f"{count} of {total} samples count as copies (memorised.split={settings.split}), which "
            f"leaves one side too small to learn from (at least {least}, and {LEAST_SHARE:.0%} of "
            "all): give another --modified-prompt, or raise memorised.images."
        )
    similar = int((copies & close).sum())
    if similar < MOSTLY * count:
        raise DataError(
            f"k-means found two clusters among {total} samples, but only {similar} of the {count} "
            "nearest to the memorised image are copies: give another --modified-prompt, or set "
            "memorised.copy_similarity."
        )
    return Separation(
        copies=torch.from_numpy(copies),
        others=torch.from_numpy(others),
        similarity=torch.from_numpy(similarity),
        agreement=float((clustered == close).mean()),
    )


def least_similar(candidates: np.ndarray, similarity: np.ndarray, left_out: float) -> np.ndarray:
    """Those of `candidates` (N,) that remain when the share most similar is left out."""
    rows = np.flatnonzero(candidates)
    count = len(rows) - int(left_out * len(rows))
    kept = rows[np.argsort(similarity[rows], kind="stable")][:count]
    remaining = np.zeros_like(candidates)
    remaining[kept] = True
    return remaining
