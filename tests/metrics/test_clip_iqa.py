"""CLIP-IQA with a tiny CLIP, against the formula of torchmetrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers

from efface.errors import DataError
from efface.metrics.clip_iqa import CLIP_IQA, OPPOSITES, prompt_quality
from efface.metrics.intervals import bounded_mean
from tests.metrics.clips import images, seen_by_clip, tokenizer
from tests.metrics.ends import measure


def test_quality_equals_the_formula_of_torchmetrics(clip_folder, clip):
    """Relative difference at most 1e-4: softmax of 100 times the cosines, the good prompt first.

    As `torchmetrics.functional.multimodal.clip_iqa` computes it for CLIPs of transformers; it
    loads those by name alone, so that its lines are written out here.
    """
    network: Any = transformers.CLIPModel.from_pretrained(clip_folder).eval()
    words = tokenizer()(list(OPPOSITES), return_tensors="pt", padding=True)
    levels = [image.mul(255).byte() for image in images()]
    pixels = transformers.CLIPImageProcessorPil.from_pretrained(clip_folder)(
        levels, return_tensors="pt"
    )
    with torch.inference_mode():
        text = network.get_text_features(**words).pooler_output
        image = network.get_image_features(**pixels).pooler_output
    text, image = text / text.norm(dim=-1, keepdim=True), image / image.norm(dim=-1, keepdim=True)
    expected = (100 * image @ text.t()).reshape(5, -1, 2).softmax(-1)[:, 0, 0].numpy()
    quality = prompt_quality(clip, clip.embed_images(images()))
    np.testing.assert_allclose(quality, expected, rtol=1e-4)
    assert quality.max() - quality.min() > 0.1
    assert measure(CLIP_IQA, seen_by_clip(prompt_quality=quality), [], None) == bounded_mean(
        quality
    )


def test_swapped_opposites_give_the_complement(clip):
    embedded = clip.embed_images(images())
    there = prompt_quality(clip, embedded, ("a cat", "a dog"))
    back = prompt_quality(clip, embedded, ("a dog", "a cat"))
    np.testing.assert_allclose(there + back, 1, atol=1e-12)
    same = prompt_quality(clip, embedded, ("a cat", "a cat"))
    np.testing.assert_allclose(same, 0.5, atol=1e-12)


def test_what_was_not_observed_is_named():
    with pytest.raises(DataError, match="clip_iqa needs opposite prompts"):
        measure(CLIP_IQA, seen_by_clip(prompt_similarity=np.ones(3)), [], None)
