"""Detectors: networks that say how likely an image shows each of their labels."""

import difflib
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from efface.errors import ConfigError
from efface.metrics.pretrained import Pinned, Pretrained, find_files, load_parts, refusing

CLASSIFIER = (
    "image classifier: give a folder or hub id of `transformers` with safetensors, a "
    "preprocessor_config.json and named labels"
)
MULTI_LABEL = "multi_label_classification"  # what transformers calls a sigmoid for each label
LISTED = 12  # labels that a sentence lists
WRITTEN = 48  # characters of labels that a name holds


@dataclass(frozen=True, eq=False, kw_only=True)
class Detector(Pinned, ABC):
    """A network that gives every image a probability for each of its labels.

    Where labels exclude each other, their probabilities add up to 1.
    """

    labels: tuple[str, ...]  # (K,)
    exclusive: bool

    @abstractmethod
    def probabilities(self, images: Tensor) -> np.ndarray:
        """Images (B, C, H, W) in [0, 1] -> (B, K) in [0, 1]."""

    def scores(self, probabilities: np.ndarray, labels: Sequence[str]) -> np.ndarray:
        """How likely images show any of `labels`: (N, K) -> (N,).

        The sum where labels exclude each other, else the largest, which is the least that the
        probability of any can be. A label that several classes bear stands for all of them.
        """
        columns = [i for i, label in enumerate(self.labels) if label in labels]
        found = probabilities[:, columns].astype(np.float64)
        return (found.sum(1) if self.exclusive else found.max(1)).clip(0, 1)


@dataclass(frozen=True, eq=False, kw_only=True)
class ClassifierDetector(Pretrained, Detector):
    """An image classifier of `transformers`: softmax over its labels, or a sigmoid for each."""

    @torch.inference_mode()
    def probabilities(self, images: Tensor) -> np.ndarray:
        logits = self.network(pixel_values=self.pixels(images)).logits.float()
        return (logits.softmax(1) if self.exclusive else logits.sigmoid()).cpu().numpy()


def load_classifier(source: str | Path, sha256: str | None = None) -> ClassifierDetector:
    """An image classifier by folder or hub id; DataError for what is none.

    The checksum is that of the same folder as an extractor, whose features are those before the
    classification.
    """
    from transformers import AutoModelForImageClassification

    files = find_files(source, sha256)
    with refusing(source, CLASSIFIER):
        parts = load_parts(AutoModelForImageClassification, files)
        config = parts["network"].config
        exclusive = config.problem_type != MULTI_LABEL
        detector = ClassifierDetector(**parts, labels=_labels(config), exclusive=exclusive)
        seen = detector.probabilities(torch.zeros(1, 3, 8, 8))
        if seen.shape != (1, len(detector.labels)):
            raise ValueError("as many labels as logits are wanted")
    return detector


def read_labels(source: str | Path, sha256: str | None = None) -> tuple[str, ...]:
    """The labels of a classifier from its configuration alone, before it is loaded; DataError."""
    from transformers import AutoConfig

    files = find_files(source, sha256)
    with refusing(source, CLASSIFIER):
        return _labels(AutoConfig.from_pretrained(files.folder, trust_remote_code=False))


def _labels(config: Any) -> tuple[str, ...]:
    """Raises ValueError for a regression, and for one label that leaves nothing to choose."""
    labels = tuple(str(config.id2label[i]) for i in range(len(config.id2label)))
    if config.problem_type == "regression" or (
        len(labels) < 2 and config.problem_type != MULTI_LABEL
    ):
        raise ValueError("no classifier of two labels or more")
    return labels


def check_labels(asked: Sequence[str], known: Sequence[str], setting: str) -> None:
    """Raise ConfigError for a label that a detector does not know, with those that it does."""
    for label in asked:
        if label not in known:
            listed = ", ".join(map(repr, known[:LISTED]))
            more = f" and {len(known) - LISTED} more" if len(known) > LISTED else ""
            near = difflib.get_close_matches(label, known, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ConfigError(
                f"{setting} names {label!r}, which the detector does not know: it has {listed}"
                f"{more}.{hint}"
            )


def name_labels(labels: Sequence[str]) -> str:
    """Labels for a protocol; of many their number and the first digits of their SHA-256."""
    text = " + ".join(labels)
    if len(text) <= WRITTEN:
        return text
    return f"{len(labels)} labels {hashlib.sha256(text.encode()).hexdigest()[:8]}"
