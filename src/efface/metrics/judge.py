"""The judge: a classifier with held-out accuracy, and features of real images to compare with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from efface.diffusion.class_networks import labels_of, read_names
from efface.errors import DataError, ModelError
from efface.files import hash_file
from efface.metrics.base import Observations

REPORTED = ("name", "held_out_accuracy", "held_out_images")  # what an evaluation says of its judge


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


class ResidualClassifier(nn.Module):
    """A small residual network: images (B, C, H, W) in [0, 1] -> features (B, widths[-1])."""

    def __init__(self, channels: int, widths: Sequence[int], num_classes: int) -> None:
        super().__init__()
        blocks = [nn.Conv2d(channels, widths[0], 3, 1, 1), nn.ReLU()]
        for i, width in enumerate(widths):
            blocks.append(_Residual(widths[max(i - 1, 0)], width, 1 if i == 0 else 2))
        self.body = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(widths[-1], num_classes)

    def features(self, images: Tensor) -> Tensor:
        return self.body(images * 2 - 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


@dataclass(frozen=True, eq=False, kw_only=True)
class Judge:
    """Classifier, features of real training images with their labels, and where they are from."""

    classifier: ResidualClassifier
    reference: np.ndarray  # (M, D) features
    reference_labels: np.ndarray  # (M,)
    config: dict[str, Any]  # channels, widths, num_classes, held_out_accuracy, id2label, ...
    name: str
    digest: str  # of the classifier's file
    reference_digest: str  # of the reference's file
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
        """Classify images (N, C, H, W) in [0, 1] that were asked for under labels (N,)."""
        features, probabilities = classify(self.classifier, images, batch_size)
        probabilities = self.by_label(probabilities)
        return Observations(asked=asked, features=features, probabilities=probabilities)

    def reported(self) -> dict[str, Any]:
        """What an evaluation says of its judge."""
        digests = {"sha256": self.digest, "reference_sha256": self.reference_digest}
        return {key: self.config[key] for key in REPORTED} | digests

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.classifier.state_dict(), folder / "model.safetensors")
        reference = {
            "features": torch.from_numpy(self.reference),
            "labels": torch.from_numpy(self.reference_labels),
        }
        save_file(reference, folder / "reference.safetensors")
        text = json.dumps(self.config, indent=2) + "\n"
        (folder / "config.json").write_text(text, encoding="utf-8")


def load_judge(folder: Path) -> Judge:
    """Read a judge's folder; DataError if it is none."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        classifier = ResidualClassifier(config["channels"], config["widths"], config["num_classes"])
        classifier.load_state_dict(load_file(folder / "model.safetensors"))
        reference = load_file(folder / "reference.safetensors")
        for name, weight in (classifier.state_dict() | reference).items():
            if not weight.isfinite().all():
                raise DataError(f"{folder} is broken: {name} of its judge is not finite.")
        read_names(config)
        missing = [key for key in REPORTED if key not in config]
        if missing:
            raise KeyError(missing[0])
        return Judge(
            classifier=classifier.eval(),
            reference=reference["features"].numpy(),
            reference_labels=reference["labels"].numpy(),
            config=config,
            name=config["name"],
            digest=hash_file(folder / "model.safetensors"),
            reference_digest=hash_file(folder / "reference.safetensors"),
        )
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        RuntimeError,
        SafetensorError,
        ModelError,
    ) as error:
        raise DataError(
            f"{folder} is no judge ({type(error).__name__}): make one with `efface judge`."
        ) from error


@torch.inference_mode()
def classify(
    classifier: ResidualClassifier, images: Tensor, batch_size: int = 500
) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, D) and probabilities (N, K), on the classifier's device."""
    device = classifier.head.weight.device
    features, probabilities = [], []
    for rows in images.split(batch_size):
        features.append(classifier.features(rows.to(device)))
        probabilities.append(classifier.head(features[-1]).softmax(1))
    return torch.cat(features).cpu().numpy(), torch.cat(probabilities).cpu().numpy()
