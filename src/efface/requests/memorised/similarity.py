"""How much pictures are alike, and which of them copy one picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from efface.data.split import COPY_SHARE
from efface.metrics.copy_similarity import Features, pixels
from efface.metrics.extractors import load_extractor

NEAREST = 0.99  # quantile: a few of many controls may happen to copy the picture too
AT_ONCE = 250


def load_features(
    source: str | None, sha256: str | None, device: torch.device | str = "cpu"
) -> tuple[Features, str]:
    """What pictures are compared by, and its name: pixels, or an extractor of `transformers`."""
    if source is None:
        return pixels, "correlation of pixels"
    extractor = load_extractor(source, sha256).to(device)
    name = f"cosine of {extractor.name} ({extractor.sha256[:12]})"
    return (lambda images: extractor.features(images)), name


@torch.inference_mode()
def unit_features(features: Features, images: Tensor) -> Tensor:
    """Features of images (N, C, H, W) in [0, 1] at length 1: (N, D) float64 on the CPU."""
    parts = [features(part).double().cpu() for part in images.split(AT_ONCE)]
    return torch.nn.functional.normalize(torch.cat(parts), dim=1)


def mutual_similarity(units: Tensor) -> Tensor:
    """Cosines of all pairs, (N, D) -> (N, N)."""
    return units @ units.T


def likeness(units: Tensor) -> float:
    """Mean cosine over all pairs of different pictures, (N, D)."""
    count = len(units)
    return float((mutual_similarity(units).sum() - count) / (count * (count - 1)))


def mode(units: Tensor) -> int:
    """The number of the picture that the others are most alike to, (N, D)."""
    return int(mutual_similarity(units).sum(1).argmax())


def copy_threshold(controls: np.ndarray) -> float:
    """The similarity from which a picture is a copy, from that of control pictures (M,).

    Features of length 1 with cosine s are sqrt(2 - 2 s) apart; a copy lies within half of the
    distance of the nearest controls, so it is nearer to the picture than to any of them.
    """
    nearest = float(np.quantile(controls, NEAREST))
    return 1 - COPY_SHARE**2 * (1 - nearest)


@dataclass(frozen=True, eq=False, kw_only=True)
class CopyDetector:
    """Tells copies of one picture from other pictures."""

    reference: Tensor  # (C, H, W) in [0, 1]
    threshold: float
    features: Features

    def similarity(self, images: Tensor) -> np.ndarray:
        """Cosine with the picture, (N, C, H, W) -> (N,)."""
        both = unit_features(self.features, torch.cat([self.reference[None], images]))
        return (both[1:] @ both[0]).numpy()

    def copies(self, images: Tensor) -> np.ndarray:
        """Which pictures are copies, (N,)."""
        return self.similarity(images) >= self.threshold
