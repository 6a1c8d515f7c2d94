"""Classifiers of a user's own: tiny networks of transformers and ONNX files, random or fitted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from efface.data.images import load_images
from tests.metrics.detectors import save

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
NAMES = tuple(f"digit {i}" for i in range(10))


def make_vit(
    folder: Path, names: tuple[str, ...] = NAMES, channels: int = 3, fitted: bool = False
) -> Path:
    """A ViT for images of 16 x 16, with large random weights or a minute's fit to the digits."""
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=16,
        patch_size=4,
        num_channels=channels,
        id2label=dict(enumerate(names)),
        label2id={name: i for i, name in enumerate(names)},
    )
    network = transformers.ViTForImageClassification(config)
    if fitted:
        fit(network)
    else:
        for weights in network.parameters():
            if weights.ndim > 1:
                weights.data.normal_(0, 0.3)
    mean = list(MEAN) if channels == 3 and not fitted else [0.5] * channels
    std = list(STD) if channels == 3 and not fitted else [0.5] * channels
    return save(network, folder, image_mean=mean, image_std=std)


def fit(network: Any) -> None:
    digits = load_images("digits", "train")
    assert digits.labels is not None
    images = torch.nn.functional.interpolate(digits.images.float() / 255, (16, 16), mode="bilinear")
    images = (images.expand(-1, 3, -1, -1) - 0.5) / 0.5
    optimizer = torch.optim.AdamW(network.parameters(), 5e-3)
    for rows in torch.randint(len(images), (300, 64)):
        loss = torch.nn.functional.cross_entropy(network(images[rows]).logits, digits.labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def make_onnx(
    path: Path,
    classes: int = 4,
    shape: tuple[Any, ...] = ("batch", 3, 6, 5),
    softmax: bool = False,
    outside: str | None = None,
    **changes: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """A hidden layer and a head with random weights, which are returned, and a label map."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    channels, height, width = 3, 6, 5
    if len(shape) == 4:
        channels = shape[1]
    rng = np.random.default_rng(0)
    inner = rng.normal(size=(channels * height * width, 7)).astype(np.float32)
    head = rng.normal(size=(7, classes)).astype(np.float32)
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("MatMul", ["flat", "inner"], ["mixed"]),
        helper.make_node("Relu", ["mixed"], ["pooled"]),
        helper.make_node("MatMul", ["pooled", "head"], ["raw"]),
        helper.make_node("Softmax" if softmax else "Identity", ["raw"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, list(shape))],
        [
            helper.make_tensor_value_info("pooled", TensorProto.FLOAT, ["batch", 7]),
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes]),
        ],
        [numpy_helper.from_array(w, n) for w, n in ((inner, "inner"), (head, "head"))],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=9)
    more: dict[str, Any] = {}
    if outside is not None:
        more = {"save_as_external_data": True, "location": outside, "size_threshold": 0}
    onnx.save(model, path, **more)
    write_map(path, classes, channels, **changes)
    return inner, head


def write_map(path: Path, classes: int, planes: int = 3, **changes: Any) -> None:
    content: dict[str, Any] = {
        "labels": [f"kind {i}" for i in range(classes)],
        "size": [6, 5],
        "mean": list(MEAN[:planes]),
        "std": list(STD[:planes]),
        "features": "pooled",
    }
    path.with_suffix(".json").write_text(json.dumps(content | changes))
