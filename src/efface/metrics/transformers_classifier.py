"""A user's own classifier: a folder of an image classifier of `transformers`, as it was saved."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from efface.errors import DataError
from efface.metrics.detector import ClassifierDetector, load_classifier
from efface.metrics.judge import Classifier, Judge, foreign_judge

ARCHITECTURE = "ForImageClassification"
PROCESSORS = ("preprocessor_config.json", "processor_config.json")


@dataclass(frozen=True, eq=False, kw_only=True)
class TransformersClassifier(Classifier):
    """Images prepared by the network's own processor; features are what its head is given.

    The head is the last linear layer with one output per label, its input the pooled features.
    """

    network: ClassifierDetector
    head: nn.Linear

    def look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        given: list[Tensor] = []
        hook = self.head.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
        try:
            logits = self.network.network(pixel_values=self.network.pixels(images)).logits
        finally:
            hook.remove()
        return given[-1].flatten(1).float(), logits.float()

    def to(self, device: torch.device | str) -> Self:
        return replace(self, network=self.network.to(device))


def load_transformers(folder: Path, sha256: str | None = None) -> Judge:
    """The judge of a folder; DataError for another network, pickles, or code of its own."""
    _check_config(folder)
    network = load_classifier(folder, sha256)
    if not network.exclusive:
        raise DataError(
            f"{folder} gives every label a probability of its own, and a judge chooses one label: "
            "give a classifier whose labels exclude each other."
        )
    heads = [
        layer
        for layer in network.network.modules()
        if isinstance(layer, nn.Linear) and layer.out_features == len(network.labels)
    ]
    if not heads:
        raise DataError(
            f"{folder} has no linear layer of {len(network.labels)} outputs, whose inputs would "
            "be the features: give a classifier that ends in one."
        )
    classifier = TransformersClassifier(network=network, head=heads[-1])
    return foreign_judge(classifier, network.name, network.sha256, network.labels)


def _check_config(folder: Path) -> None:
    """Raise DataError for what would only be called unreadable later."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    names = config["architectures"] or [None]
    if not str(names[0]).endswith(ARCHITECTURE):
        raise DataError(
            f"{folder} holds {names[0]}, which is no image classifier: give a network whose "
            f"architecture ends in {ARCHITECTURE}."
        )
    if "auto_map" in config:
        raise DataError(
            f"{folder} comes with code of its own (auto_map), which is never run: give an "
            "architecture that is part of `transformers`."
        )
    if not any((folder / name).exists() for name in PROCESSORS):
        raise DataError(
            f"{folder} has no {PROCESSORS[0]}: save the classifier's image processor beside it "
            "(`processor.save_pretrained`)."
        )
