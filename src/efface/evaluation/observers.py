"""What is kept of samples: what a judge sees in them, and how near they are to pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from efface.data.split import distances
from efface.evaluation.store import Arrays, digest_of_array
from efface.metrics.base import Observations
from efface.metrics.clip import Clip
from efface.metrics.detector import Detector
from efface.metrics.extractors import Extractor, extract
from efface.metrics.judge import Judge


@dataclass(frozen=True, eq=False, kw_only=True)
class JudgeObserver:
    """Features (B, D) and probabilities (B, K) of the judge."""

    judge: Judge

    @property
    def digest(self) -> str:
        return f"judge {self.judge.digest}"

    def __call__(self, images: Tensor) -> Arrays:
        seen = self.judge.observe(images, np.zeros(len(images), dtype=np.int64))
        return {"features": seen.features, "probabilities": seen.probabilities}


@dataclass(frozen=True, eq=False, kw_only=True)
class ExtractorObserver:
    """Features (B, D) and spatial features (B, D') of an extractor."""

    extractor: Extractor

    @property
    def digest(self) -> str:
        return f"extractor {self.extractor.sha256}"

    def __call__(self, images: Tensor) -> Arrays:
        features, spatial = extract(self.extractor, [images])
        return {"features": features, "spatial": spatial}


@dataclass(frozen=True, eq=False, kw_only=True)
class ClipObserver:
    """Embeddings (B, D) of images; prompts are compared with them afterwards."""

    clip: Clip

    @property
    def digest(self) -> str:
        return f"clip {self.clip.sha256}"

    def __call__(self, images: Tensor) -> Arrays:
        return {"embedded": self.clip.embed_images(images)}


@dataclass(frozen=True, eq=False, kw_only=True)
class DetectorObserver:
    """Probabilities (B, K) of all labels; which of them count is decided afterwards."""

    detector: Detector

    @property
    def digest(self) -> str:
        return f"detector {self.detector.name} {self.detector.sha256}"

    def __call__(self, images: Tensor) -> Arrays:
        return {"probabilities": self.detector.probabilities(images)}


def observations(arrays: Arrays, asked: np.ndarray) -> Observations:
    """What a `JudgeObserver` saw of samples asked for under labels (N,)."""
    return Observations(
        asked=asked, features=arrays["features"], probabilities=arrays["probabilities"]
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class DistanceObserver:
    """Distances (B, K) to given images (K, C, H, W): L2 over pixels from 0 to 1."""

    images: Tensor

    @property
    def digest(self) -> str:
        return f"distances {digest_of_array(self.images.cpu().numpy())}"

    def __call__(self, images: Tensor) -> Arrays:
        return {"distances": distances(images, self.images).cpu().numpy()}
