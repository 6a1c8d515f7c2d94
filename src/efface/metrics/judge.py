"""The judge: a classifier, what is known of it, and features of real images to compare with."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from efface.diffusion.class_networks import labels_of, read_names, write_names
from efface.errors import DataError
from efface.files import hash_file
from efface.metrics.base import Observations
from efface.metrics.pretrained import check_digest, refusing, split_pin

HELD_OUT = ("held_out_accuracy", "held_out_interval", "held_out_images")  # None: not stated
REFERENCE = ("reference_accuracy", "reference_interval", "reference_images")
WANTED = "classifier: give a folder of `efface classifier` or of `transformers`, or an ONNX file"


class Classifier(ABC):
    """A network that recognises labels, from whichever source."""

    @abstractmethod
    def look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, D) and logits (B, K) of images (B, C, H, W) in [0, 1], on any device."""

    def to(self, device: torch.device | str) -> Self:
        """The same on a device; this one where the source does not let one choose."""
        return self


class _Residual(nn.Module):
    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width_in, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.skip = nn.Conv2d(width_in, width, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.skip(x))


class ResidualClassifier(nn.Module, Classifier):
    """A small residual network: images (B, C, H, W) in [0, 1] -> features (B, widths[-1])."""

    def __init__(self, channels: int, widths: Sequence[int], num_classes: int) -> None:
        super().__init__()
        blocks = [nn.Conv2d(channels, widths[0], 3, 1, 1), nn.ReLU()]
        for i, width in enumerate(widths):
            blocks.append(_Residual(widths[max(i - 1, 0)], width, 1 if i == 0 else 2))
        self.body = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(widths[-1], num_classes)

    def look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(images.to(self.head.weight.device) * 2 - 1)
        return features, self.head(features)

    def forward(self, images: Tensor) -> Tensor:
        return self.look(images)[1]


@dataclass(frozen=True, eq=False, kw_only=True)
class Judge:
    """Classifier, features of real images with their labels, and where they are from."""

    classifier: Classifier
    config: dict[str, Any]  # num_classes, held_out_accuracy, id2label, ...
    name: str
    digest: str  # of the classifier's files
    reference: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))  # (M, D) or empty
    reference_labels: np.ndarray = field(default_factory=lambda: np.zeros(0, int))  # (M,), -1: none
    reference_digest: str | None = None
    null_label: int | None = None  # a label of the model below its own, which it never sees

    @property
    def labels(self) -> tuple[int, ...]:
        """The model's labels, in the order of its own."""
        return labels_of(self.config["num_classes"], self.null_label)

    @property
    def names(self) -> dict[int, str]:
        """Names of labels, where they are known."""
        own = read_names(self.config)
        return {label: own[i] for i, label in enumerate(self.labels) if i in own}

    def numbered_as(self, null_label: int) -> Judge:
        """The same judge for a model whose null label lies between or before the others."""
        numbered = replace(self, null_label=null_label)
        labels = np.array(numbered.labels)[self.reference_labels]
        return replace(numbered, reference_labels=labels)

    def by_label(self, probabilities: np.ndarray) -> np.ndarray:
        """Probabilities (N, K) of its own labels, with the model's: none for a null label."""
        if self.null_label is None:
            return probabilities
        return np.insert(probabilities, self.null_label, 0, axis=1)

    def to(self, device: torch.device | str) -> Judge:
        return replace(self, classifier=self.classifier.to(device))

    def reference_without(self, labels: Sequence[int]) -> np.ndarray:
        return self.reference[~np.isin(self.reference_labels, labels)]

    def observe(self, images: Tensor, asked: np.ndarray, batch_size: int = 500) -> Observations:
        """Classify images (N, C, H, W) in [0, 1] conditioned on labels (N,)."""
        features, probabilities = classify(self.classifier, images, batch_size)
        probabilities = self.by_label(probabilities)
        return Observations(asked=asked, features=features, probabilities=probabilities)

    def reported(self) -> dict[str, Any]:
        """What an evaluation says of its judge."""
        said = {"name": self.name} | {key: self.config.get(key) for key in HELD_OUT}
        said |= {key: self.config[key] for key in REFERENCE if key in self.config}
        return said | {"sha256": self.digest, "reference_sha256": self.reference_digest}

    def save(self, folder: Path) -> None:
        assert isinstance(self.classifier, ResidualClassifier)  # a foreign one is in files already
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.classifier.state_dict(), folder / "model.safetensors")
        reference = {
            "features": torch.from_numpy(self.reference),
            "labels": torch.from_numpy(self.reference_labels),
        }
        save_file(reference, folder / "reference.safetensors")
        text = json.dumps(self.config, indent=2) + "\n"
        (folder / "config.json").write_text(text, encoding="utf-8")


def foreign_judge(classifier: Classifier, name: str, digest: str, labels: Sequence[str]) -> Judge:
    """A judge that was not made here: no accuracy is stated, and no training images are known."""
    numbered = all(label == f"LABEL_{i}" for i, label in enumerate(labels))  # nameless
    names = {} if numbered else write_names(labels)
    config: dict[str, Any] = {"num_classes": len(labels), "id2label": names}
    return Judge(classifier=classifier, config=config, name=name, digest=digest)


def load_judge(source: str | Path) -> Judge:
    """Read a classifier of any source, pinned by `@sha256:DIGEST` or not; DataError for none."""
    given, pin = split_pin(str(source))
    path = Path(given)
    if path.suffix == ".onnx":
        from efface.metrics.onnx_classifier import load_onnx

        return load_onnx(path, pin)
    with refusing(given, WANTED):
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        if "architectures" not in config:
            return _load_residual(path, config, pin)
        from efface.metrics.transformers_classifier import load_transformers

        return load_transformers(path, config, pin)


def _load_residual(folder: Path, config: dict[str, Any], pin: str | None) -> Judge:
    """A folder of `efface classifier`; DataError, or what libraries raise, for what is none."""
    digest = hash_file(folder / "model.safetensors")
    check_digest(folder, digest, pin)
    classifier = ResidualClassifier(config["channels"], config["widths"], config["num_classes"])
    classifier.load_state_dict(load_file(folder / "model.safetensors"))
    reference = load_file(folder / "reference.safetensors")
    for name, weight in (classifier.state_dict() | reference).items():
        if not weight.isfinite().all():
            raise DataError(f"{folder} is broken: {name} of its classifier is not finite.")
    read_names(config)
    return Judge(
        classifier=classifier.eval(),
        reference=reference["features"].numpy(),
        reference_labels=reference["labels"].numpy(),
        config=config,
        name=config["name"],
        digest=digest,
        reference_digest=hash_file(folder / "reference.safetensors"),
    )


@torch.inference_mode()
def classify(
    classifier: Classifier, images: Tensor, batch_size: int = 500
) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, D) and probabilities (N, K) of images (N, C, H, W) in [0, 1]."""
    features, probabilities = [], []
    for rows in images.split(batch_size):
        seen, logits = classifier.look(rows)
        features.append(seen)
        probabilities.append(logits.softmax(1))
    return torch.cat(features).cpu().numpy(), torch.cat(probabilities).cpu().numpy()
