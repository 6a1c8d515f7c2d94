"""Samples as one network sees them, with the real images that it compares them to."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from torch import Tensor

from efface.evaluation.store import Arrays, digest_of_array
from efface.evaluation.wording import shorten as shortened
from efface.metrics.base import Metric, Observations, added_metrics
from efface.metrics.class_rate import CLASS_RATE
from efface.metrics.clip import Clip
from efface.metrics.clip_iqa import CLIP_IQA, prompt_quality
from efface.metrics.concept_rate import concept_rate
from efface.metrics.coverage import COVERAGE
from efface.metrics.density import DENSITY
from efface.metrics.detector import Detector, name_labels
from efface.metrics.extractors import Extractor, InceptionExtractor, extract
from efface.metrics.fd import FD
from efface.metrics.inception_score import INCEPTION_SCORE
from efface.metrics.judge import Judge, classify
from efface.metrics.kid import KID
from efface.metrics.pixel_components import PixelComponents
from efface.metrics.precision import PRECISION
from efface.metrics.recall import RECALL
from efface.metrics.retained_accuracy import RETAINED_ACCURACY
from efface.metrics.sfid import SFID
from efface.metrics.unlearning_accuracy import (
    FORGOTTEN_ENTROPY,
    FORGOTTEN_PROBABILITY,
    UNLEARNING_ACCURACY,
)
from efface.records import Spec

DISTRIBUTION: tuple[Metric, ...] = (FD, KID, PRECISION, RECALL, DENSITY, COVERAGE)
CLASS_METRICS: tuple[Metric, ...] = (
    CLASS_RATE,
    UNLEARNING_ACCURACY,
    FORGOTTEN_PROBABILITY,
    FORGOTTEN_ENTROPY,
    RETAINED_ACCURACY,
    *DISTRIBUTION,
    INCEPTION_SCORE,
)
IMAGE_METRICS: tuple[Metric, ...] = (INCEPTION_SCORE, *DISTRIBUTION)


class View(ABC):
    """One network as an observer of samples, and its figures.

    Those of different networks never share a row.
    """

    @property
    @abstractmethod
    def extractor(self) -> dict[str, str]:
        """Name and SHA-256, as a result carries them."""

    @property
    def compared_with(self) -> str | None:
        """SHA-256 of what the network made of real images; None where there are none."""
        return None

    @property
    def real_name(self) -> str:
        """What its reference is, in words for a protocol."""
        return "real images"

    @property
    def digest(self) -> str:
        """Changes whenever the network would see something else in the same images."""
        return f"{type(self).__name__} {self.extractor['sha256']}"

    @abstractmethod
    def __call__(self, images: Tensor) -> Arrays:
        """Arrays of B rows from images (B, C, H, W) in [0, 1]."""

    @abstractmethod
    def metrics(self, labelled: bool) -> tuple[Metric, ...]:
        """What this network can tell of samples with labels, or of ones without."""

    @abstractmethod
    def observations(self, arrays: Arrays, asked: np.ndarray) -> Observations:
        """What arrays of all samples say of them, conditioned on labels (N,)."""

    def reference(self, metric: Metric, forgotten: Sequence[int]) -> np.ndarray | None:
        """Real images (M, D) of what is retained, as `metric` reads them."""
        return None


@dataclass(frozen=True, eq=False, kw_only=True)
class JudgeView(View):
    judge: Judge

    @property
    def extractor(self) -> dict[str, str]:
        return {"name": self.judge.name, "sha256": self.judge.digest}

    @property
    def compared_with(self) -> str | None:
        return self.judge.reference_digest

    def __call__(self, images: Tensor) -> Arrays:
        features, probabilities = classify(self.judge.classifier, images)
        return {"features": features, "probabilities": probabilities}

    def metrics(self, labelled: bool) -> tuple[Metric, ...]:
        added = added_metrics("judge")
        own = [metric for metric in added if labelled or metric.spec.side == "retain"]
        found = (*(CLASS_METRICS if labelled else IMAGE_METRICS), *own)
        return tuple(m for m in found if len(self.judge.reference) or not m.needs_reference)

    def observations(self, arrays: Arrays, asked: np.ndarray) -> Observations:
        return Observations(
            asked=asked,
            features=arrays["features"],
            probabilities=self.judge.by_label(arrays["probabilities"]),
        )

    def reference(self, metric: Metric, forgotten: Sequence[int]) -> np.ndarray | None:
        return self.judge.reference_without(forgotten) if metric.needs_reference else None


@dataclass(frozen=True, eq=False, kw_only=True)
class ExtractorView(View):
    """An extractor, and features of real images with their labels, where they have any."""

    network: Extractor
    real: np.ndarray  # (M, D)
    real_spatial: np.ndarray  # (M, D')
    labels: np.ndarray | None  # (M,)
    of_original: bool = False  # whether these are samples of the original model instead

    @property
    def extractor(self) -> dict[str, str]:
        return self.network.described()

    @property
    def compared_with(self) -> str:
        return digest_of_array(self.real) + digest_of_array(self.real_spatial)

    @property
    def real_name(self) -> str:
        return "other samples of the original model" if self.of_original else super().real_name

    def __call__(self, images: Tensor) -> Arrays:
        features, spatial = extract(self.network, [images])
        return {"features": features, "spatial": spatial}

    def metrics(self, labelled: bool) -> tuple[Metric, ...]:
        whole = (*DISTRIBUTION, SFID) if self.real_spatial.shape[1] else (FD, PRECISION, RECALL)
        whole = (*whole, *added_metrics("extractor"))
        return tuple(replace(metric, spec=self._named(metric.spec)) for metric in whole)

    def _named(self, spec: Spec) -> Spec:
        """The figure under a name that tells it from that of another network."""
        seen = "pixels" if isinstance(self.network, PixelComponents) else self.network.name
        told = [shortened(seen)]
        if isinstance(self.network, InceptionExtractor) and spec.name == FD.spec.name:
            spec, told = spec.model_copy(update={"name": "fid", "label": "FID"}), []
        if self.of_original:
            told.append("against the original")
            meaning = spec.meaning.replace("real images", "other samples of the original model")
            spec = spec.model_copy(update={"meaning": meaning, "likeness": True})
        label = f"{spec.label} ({', '.join(told)})" if told else spec.label
        return spec.model_copy(update={"label": label})

    def observations(self, arrays: Arrays, asked: np.ndarray) -> Observations:
        return Observations(
            asked=asked,
            probabilities=np.zeros((len(asked), 0)),
            features=arrays["features"],
            spatial=arrays["spatial"],
        )

    def reference(self, metric: Metric, forgotten: Sequence[int]) -> np.ndarray | None:
        real = self.real_spatial if metric.needs_spatial else self.real
        return real if self.labels is None else real[~np.isin(self.labels, forgotten)]


@dataclass(frozen=True, eq=False, kw_only=True)
class ClipView(View):
    clip: Clip
    threshold: ClassVar[float] = 0.5  # a CLIP prefers the more probable of two texts

    @property
    def extractor(self) -> dict[str, str]:
        return self.clip.described()

    def __call__(self, images: Tensor) -> Arrays:
        """Embeddings; prompts are compared with them afterwards."""
        return {"embedded": self.clip.embed_images(images)}

    def metrics(self, labelled: bool) -> tuple[Metric, ...]:
        return (CLIP_IQA, *added_metrics("clip"))

    def observations(self, arrays: Arrays, asked: np.ndarray) -> Observations:
        nothing = np.zeros((len(asked), 0))
        return Observations(
            asked=asked,
            probabilities=nothing,
            features=nothing,
            prompt_quality=prompt_quality(self.clip, arrays["embedded"]),
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class DetectorView(View):
    """A detector, the labels that are the concept, and the score above which it is there."""

    detector: Detector
    labels: tuple[str, ...]
    threshold: float

    @property
    def extractor(self) -> dict[str, str]:
        return self.described_as(self.name_sought())

    @property
    def name(self) -> str:
        return self.detector.name

    @property
    def measured_with(self) -> str:
        """What finds the concept, in words for a protocol."""
        return self.extractor["name"]

    @property
    def digest(self) -> str:
        return f"detector {self.detector.name} {self.detector.sha256}"

    def __call__(self, images: Tensor) -> Arrays:
        """Probabilities of all labels; which of them count is decided afterwards."""
        return {"probabilities": self.detector.probabilities(images)}

    def described_as(self, looked_for: str) -> dict[str, str]:
        """Rates of other labels or thresholds never share a row: they are named otherwise."""
        name = f"{self.detector.name}, {looked_for} above {self.threshold:g}"
        return {"name": name, "sha256": self.detector.sha256, "kind": "detector"}

    def name_sought(self, labels: Sequence[str] = ()) -> str:
        return name_labels(labels or self.labels)

    def scores(self, arrays: Arrays, labels: Sequence[str] = ()) -> np.ndarray:
        """How likely each sample shows any of `labels`, or the concept: (N,)."""
        return self.detector.scores(arrays["probabilities"], labels or self.labels)

    def metrics(self, labelled: bool) -> tuple[Metric, ...]:
        return (concept_rate(self.threshold),) if labelled else ()

    def observations(self, arrays: Arrays, asked: np.ndarray) -> Observations:
        """With the concept's score as the only probability."""
        return Observations(
            asked=asked,
            probabilities=self.scores(arrays)[:, None],
            features=np.zeros((len(asked), 0)),
        )
