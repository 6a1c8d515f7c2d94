"""A user's own classifier: a folder of an image classifier of `transformers`, as it was saved."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from efface.errors import DataError
from efface.metrics.detector import ClassifierDetector, load_classifier
from efface.metrics.judge import Classifier, Judge, foreign_judge

ARCHITECTURE = "ForImageClassification"
PROCESSOR = "preprocessor_config.json"


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


def load_transformers(folder: Path, config: dict[str, Any], sha256: str | None = None) -> Judge:
    """The judge of a folder; DataError for another network, pickles, or code of its own."""
    name = (config["architectures"] or [None])[0]
    _refuse(not str(name).endswith(ARCHITECTURE), folder, f"holds {name}, no {ARCHITECTURE}")
    _refuse("auto_map" in config, folder, "has code of its own (auto_map), which is never run")
    _refuse(not (folder / PROCESSOR).exists(), folder, f"has no {PROCESSOR}")
    network = load_classifier(folder, sha256)
    count = len(network.labels)
    layers = [layer for layer in network.network.modules() if isinstance(layer, nn.Linear)]
    heads = [layer for layer in layers if layer.out_features == count]
    _refuse(not network.exclusive, folder, "gives every label a probability of its own")
    _refuse(not heads, folder, f"has no linear layer of {count} outputs, one for each label")
    classifier = TransformersClassifier(network=network, head=heads[-1])
    return foreign_judge(classifier, network.name, network.sha256, network.labels)


def _refuse(wrong: bool, folder: Path, what: str) -> None:
    if wrong:
        raise DataError(
            f"{folder} {what}: give a folder with an image classifier of `transformers` that "
            "chooses one label, and with its image processor, as `save_pretrained` writes both."
        )
