"""A tiny text-to-image model's recipe, its images, its text encoder and its autoencoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import BertConfig, BertModel, BertTokenizer

from efface.data.images import load_images
from efface.zoo.build.scene_networks import train_autoencoder

SMALL: dict[str, dict[str, Any]] = {
    "scenes": {"images": 60, "labels": [0, 1], "items": ["bag", "coat"]},
    "autoencoder": {"channels": [4, 8, 8], "norm_groups": 4, "steps": 6, "batch_size": 8},
    "detector": {"widths": [8, 16], "steps": 120, "batch_size": 16},
    "network": {"channels": [8, 16], "attention": [True, False], "norm_groups": 4},
    "train": {"steps": 3, "batch_size": 8, "checkpoint_every": 2},
}
WORDS = (
    "[PAD] [UNK] [CLS] [SEP] a of one there is to the left next photo picture on black background "
    "beside and red green blue yellow white bag coat"
)


@pytest.fixture(scope="session")
def digit_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty digits as PNG files, a folder per label."""
    folder = tmp_path_factory.mktemp("images")
    digits = load_images("digits", "test")
    assert digits.labels is not None
    for i in range(40):
        label = folder / f"digit {int(digits.labels[i])}"
        label.mkdir(exist_ok=True)
        Image.fromarray(digits.images[i, 0].numpy()).save(label / f"{i}.png")
    return folder


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of two kinds, bright above and bright below, and a tiny text encoder."""
    folder = tmp_path_factory.mktemp("work")
    rng = np.random.default_rng(0)
    for kind in range(2):
        (folder / "images" / str(kind)).mkdir(parents=True)
        for number in range(6):
            pixels = rng.integers(0, 40, (28, 28)).astype(np.uint8)
            pixels[14 * kind : 14 * kind + 14] += 180
            Image.fromarray(pixels).save(folder / "images" / str(kind) / f"{number}.png")
    vocabulary = {word: number for number, word in enumerate(WORDS.split())}
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=24,
    )
    BertModel(config).save_pretrained(folder / "encoder")
    BertTokenizer(vocab=vocabulary).save_pretrained(folder / "encoder")
    return folder


@pytest.fixture(scope="session")
def recipe(work: Path) -> Path:
    images = str(work / "images")
    content = SMALL | {
        "data": {"source": images, "held_out": images},
        "network": SMALL["network"]
        | {"autoencoder": str(work / "vae"), "text_encoder": str(work / "encoder")},
    }
    lines = []
    for section, values in content.items():
        lines += [f"[{section}]", *(f"{key} = {json.dumps(v)}" for key, v in values.items())]
    path = work / "recipe.toml"
    path.write_text("\n".join(lines))
    return path


@pytest.fixture(scope="session")
def autoencoder_error(work: Path, recipe: Path) -> float:
    """The held-out error of the autoencoder, which is made."""
    return train_autoencoder(recipe, work / "vae")
