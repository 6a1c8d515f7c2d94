"""Separate a prompt's own samples into copies of the memorised image and all others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydantic import ConfigDict
from sklearn.cluster import KMeans
from torch import Tensor

from efface.errors import DataError
from efface.requests.memorised.sampling import PromptSampler, to_unit
from efface.requests.memorised.settings import MemorisedSettings
from efface.requests.memorised.similarity import CopyDetector

LEAST_SHARE, MOST_SHARE = 0.05, 0.95  # of copies; beyond, one side is too small to learn from
RESTARTS = 10
MOSTLY = 0.5  # k-means splits anything; a cluster of copies has at least this share of copies


@dataclass(frozen=True, eq=False, kw_only=True)
class Sides:
    """Images (N, C, H, W) uint8 to learn from.

    Some are on neither side: learning to generate near-copies would retain what is to be forgotten.
    """

    __pydantic_config__ = ConfigDict(arbitrary_types_allowed=True)

    forget: Tensor
    retain: Tensor
    undecided: int
    agreement: float  # share of images on which k-means and the threshold of similarity agree


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
    sampler: PromptSampler, detector: CopyDetector, settings: MemorisedSettings, prompt: str
) -> Sides:
    """Sample a partly memorised prompt and separate its images."""
    return split(sampler.sample([prompt], settings.images, "synthetic"), detector, settings)


def split(images: Tensor, detector: CopyDetector, settings: MemorisedSettings) -> Sides:
    """Separate images (N, C, H, W) uint8; DataError where one side has next to nothing.

    Of those that are no copies the share `undecided` that is most similar to the memorised image is
    on neither side.
    """
    similarity = detector.similarity(to_unit(images))
    close = similarity >= detector.threshold
    clustered = cluster(images, detector.reference, settings.seed)
    copies = clustered if settings.split == "kmeans" else close
    others = np.flatnonzero(~copies)
    left_out = int(settings.undecided * len(others))
    farthest = others[np.argsort(similarity[others], kind="stable")][: len(others) - left_out]
    forget, retain = images[torch.from_numpy(copies)], images[np.sort(farthest)]
    count, total, least = len(forget), len(images), settings.least_rows
    if min(count, len(retain)) < least or not LEAST_SHARE <= count / total <= MOST_SHARE:
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
    return Sides(
        forget=forget,
        retain=retain,
        undecided=left_out,
        agreement=float((clustered == close).mean()),
    )
