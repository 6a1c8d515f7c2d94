"""A tiny CLIP with a tokenizer, and what it is shown."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
import transformers
from torch import Tensor

from efface.metrics.base import Observations

LENGTH = 12  # tokens
PROMPTS = ["a cat", "a dog", "a cat", "many birds in a tree", ""]


def tokenizer() -> transformers.CLIPTokenizer:
    """One token per letter, with and without an end of word."""
    letters = [chr(code) for code in range(33, 127)]
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: number for number, word in enumerate(words)}
    return transformers.CLIPTokenizer(vocab=vocabulary, merges=[])


def make_clip(folder: Path) -> Path:
    torch.manual_seed(0)
    words = tokenizer()
    common = {"intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    ids = {
        "vocab_size": len(words),
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
    }
    text = common | ids | {"hidden_size": 16, "max_position_embeddings": LENGTH}
    vision = common | {"hidden_size": 16, "image_size": 16, "patch_size": 8}
    config = transformers.CLIPConfig(
        text_config=text,
        vision_config=vision,
        projection_dim=8,
        logit_scale_init_value=math.log(100),
    )
    network = transformers.CLIPModel(config).eval()
    for weights in network.parameters():  # the usual start is so small that all images look alike
        if weights.ndim > 1:
            weights.data.normal_(0, 0.2)
    network.save_pretrained(folder)
    words.save_pretrained(folder)
    transformers.CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size=16).save_pretrained(
        folder
    )
    return folder


def images(count: int = 5) -> Tensor:
    """At the 256 levels, as torchmetrics wants them."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 3, 10, 10), generator=generator) / 255


def seen_by_clip(**found: np.ndarray) -> Observations:
    count = len(next(iter(found.values())))
    nothing = np.zeros((count, 0))
    return Observations(asked=np.zeros(count), probabilities=nothing, features=nothing, **found)
