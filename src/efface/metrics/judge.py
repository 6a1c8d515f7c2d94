"""The judge: a classifier with held-out accuracy, and features of real images to compare with."""

from __future__ import annotations

import hashlib
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

from efface.data.images import ImageSet
from efface.data.randomness import derive_seed
from efface.errors import DataError
from efface.metrics.base import Observations
from efface.zoo.build.fitting import fit

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
    config: dict[str, Any]  # channels, widths, num_classes, held_out_accuracy, data
    name: str
    digest: str  # of the classifier's file
    reference_digest: str  # of the reference's file

    def to(self, device: torch.device | str) -> Judge:
        return replace(self, classifier=self.classifier.to(device))

    def reference_without(self, labels: Sequence[int]) -> np.ndarray:
        return self.reference[~np.isin(self.reference_labels, labels)]

    def observe(self, images: Tensor, asked: np.ndarray, batch_size: int = 500) -> Observations:
        """Classify images (N, C, H, W) in [0, 1] that were asked for under labels (N,)."""
        features, probabilities = _classify(self.classifier, images, batch_size)
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
        digests = {
            name: hashlib.sha256((folder / f"{name}.safetensors").read_bytes()).hexdigest()
            for name in ("model", "reference")
        }
        missing = [key for key in REPORTED if key not in config]
        if missing:
            raise KeyError(missing[0])
        return Judge(
            classifier=classifier.eval(),
            reference=reference["features"].numpy(),
            reference_labels=reference["labels"].numpy(),
            config=config,
            name=config["name"],
            digest=digests["model"],
            reference_digest=digests["reference"],
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise DataError(
            f"{folder} is no judge ({type(error).__name__}): make one with `efface judge`."
        ) from error


@dataclass(frozen=True, kw_only=True)
class JudgeConfig:
    """How a judge is trained."""

    widths: tuple[int, ...] = (32, 64)
    epochs: int = 30
    batch_size: int = 64
    learning_rate: float = 3e-3
    shift: int = 1  # training images are moved by up to so many pixels
    horizontal_flip: bool = False
    reference_images: int = 5000  # at most, spread evenly over the training images
    seed: int = 0


def train_judge(
    name: str, train: ImageSet, held_out: ImageSet, config: JudgeConfig, device: str = "cpu"
) -> Judge:
    """Train a classifier, measure it on held-out images, and keep reference features.

    AdamW on a one-cycle schedule. Raises DataError for images without labels.
    """
    if train.labels is None or held_out.labels is None:
        raise DataError("a judge needs labelled images: sort them into one subfolder per label.")
    if len(train) < config.batch_size:
        raise DataError(
            f"{len(train)} training images are fewer than one batch of {config.batch_size}: give "
            "more, or set judge.batch_size lower."
        )
    torch.manual_seed(derive_seed(config.seed, "judge"))
    classes = int(train.labels.max()) + 1
    classifier = ResidualClassifier(train.images.shape[1], config.widths, classes).to(device)
    per_epoch = len(train) // config.batch_size
    images, labels = train.images.to(device), train.labels.to(device)
    order = torch.empty(0)

    def loss(step: int) -> Tensor:
        nonlocal order
        position = step % per_epoch
        if position == 0:
            order = torch.randperm(len(train), device=device)
        rows = order[position * config.batch_size : (position + 1) * config.batch_size]
        logits = classifier(_augment(images[rows].float() / 255, config))
        return nn.functional.cross_entropy(logits, labels[rows], label_smoothing=0.05)

    fit(classifier, loss, config.epochs * per_epoch, config.learning_rate, "training the judge")
    _, probabilities = _classify(classifier, held_out.images.float() / 255)
    correct = probabilities.argmax(1) == held_out.labels.numpy()
    spread = torch.linspace(0, len(train) - 1, min(config.reference_images, len(train))).long()
    kept = train.select(spread)
    reference, _ = _classify(classifier, kept.images.float() / 255)
    assert kept.labels is not None
    return Judge(
        classifier=classifier.cpu(),
        reference=reference,
        reference_labels=kept.labels.numpy(),
        config={
            "name": name,
            "channels": train.images.shape[1],
            "widths": list(config.widths),
            "num_classes": classes,
            "held_out_accuracy": float(correct.mean()),
            "held_out_images": len(held_out),
            "training_images": len(train),
            "seed": config.seed,
        },
        name=name,
        digest="",
        reference_digest="",
    )


def _augment(images: Tensor, config: JudgeConfig) -> Tensor:
    if config.shift:
        x, y = torch.randint(2 * config.shift + 1, (2,)).tolist()
        padded = nn.functional.pad(images, [config.shift] * 4)
        images = padded[..., y : y + images.shape[-2], x : x + images.shape[-1]]
    if config.horizontal_flip:
        flip = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
        images = torch.where(flip, images.flip(-1), images)
    return images


@torch.inference_mode()
def _classify(
    classifier: ResidualClassifier, images: Tensor, batch_size: int = 500
) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, D) and probabilities (N, K), on the classifier's device."""
    device = classifier.head.weight.device
    features, probabilities = [], []
    for rows in images.split(batch_size):
        features.append(classifier.features(rows.to(device)))
        probabilities.append(classifier.head(features[-1]).softmax(1))
    return torch.cat(features).cpu().numpy(), torch.cat(probabilities).cpu().numpy()
