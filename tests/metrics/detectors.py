"""Tiny image classifiers of transformers, one of which measures brightness exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

LABELS = ("bag", "coat", "boot")
SLOPE = torch.tensor([6.0, -4.0, 2.0])  # logits are SLOPE * brightness + OFFSET
OFFSET = torch.tensor([-3.0, 1.0, 0.5])
MULTI = "multi_label_classification"


def save(network: Any, folder: Path, **changes: Any) -> Path:
    processor = transformers.ViTImageProcessorPil(size={"height": 16, "width": 16}, **changes)
    network.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def names(labels: tuple[str, ...], problem_type: str | None) -> dict[str, Any]:
    return {
        "id2label": dict(enumerate(labels)),
        "label2id": {label: i for i, label in enumerate(labels)},
        "problem_type": problem_type,
    }


def make_brightness(
    folder: Path, problem_type: str | None, labels: tuple[str, ...] = LABELS
) -> Path:
    """A ResNet whose logits are linear in the brightness of a picture of one colour.

    One pixel of each window goes through the first convolution, the residual block adds nothing.
    """
    config = transformers.ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8],
        depths=[1],
        layer_type="basic",
        **names(labels, problem_type),
    )
    network = transformers.ResNetForImageClassification(config)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.weight.zero_()
        network.resnet.embedder.embedder.convolution.weight[0, :, 3, 3] = 1 / 3
        linear = network.classifier[1]
        linear.weight.zero_()
        linear.weight[:, 0] = SLOPE
        linear.bias.copy_(OFFSET)
    return save(network, folder, do_normalize=False)


def make_random(folder: Path, problem_type: str | None, seed: int = 0) -> Path:
    """A ViT with large random weights, so that pictures do not all look alike."""
    torch.manual_seed(seed)
    config = transformers.ViTConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=16,
        patch_size=8,
        **names(LABELS, problem_type),
    )
    network = transformers.ViTForImageClassification(config)
    for weights in network.parameters():
        if weights.ndim > 1:
            weights.data.normal_(0, 0.5)
    return save(network, folder)


def logits(brightness: Tensor) -> Tensor:
    """What `make_brightness` answers, but for the 1e-5 of batch norm: (N,) -> (N, 3)."""
    return brightness[:, None].double() * SLOPE.double() + OFFSET.double()
