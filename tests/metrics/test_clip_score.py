"""CLIP scores with a tiny CLIP, against torchmetrics and by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from torch import Tensor

from efface.errors import DataError
from efface.metrics.clip_score import CLIP_SCORE, prompt_similarity
from efface.metrics.intervals import mean
from tests.metrics.clips import PROMPTS, images, seen_by_clip
from tests.metrics.ends import measure


class Plain(transformers.CLIPModel):
    """A CLIP whose features are tensors, as torchmetrics expects them."""

    def get_image_features(self, pixel_values: Tensor) -> Any:
        seen: Any = super().get_image_features(pixel_values=pixel_values)  # pyright: ignore
        return seen.pooler_output

    def get_text_features(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        seen: Any = super().get_text_features(input_ids, attention_mask)  # pyright: ignore
        return seen.pooler_output


def by_torchmetrics(folder: Path, batch: Tensor, prompts: list[str]) -> float:
    module = pytest.importorskip("torchmetrics.multimodal.clip_score")

    def load() -> tuple[Any, Any]:
        processor = transformers.CLIPProcessor(
            image_processor=transformers.CLIPImageProcessorPil.from_pretrained(folder),
            tokenizer=transformers.CLIPTokenizer.from_pretrained(folder),
        )
        return Plain.from_pretrained(folder).eval(), processor

    metric = module.CLIPScore(model_name_or_path=load)
    metric.update([image.mul(255).byte() for image in batch], prompts)
    return float(metric.compute())


def test_clip_score_equals_torchmetrics(clip_folder, clip):
    """Relative difference at most 1e-4; torchmetrics cuts at 0 after the mean, so that pairs with
    a cosine above 0 are taken."""
    batch, prompts = images(20), [PROMPTS[i % 3] for i in range(20)]
    cosines = prompt_similarity(clip, clip.embed_images(batch), prompts)
    above = np.flatnonzero(cosines > 0)
    assert len(above) > 5
    expected = by_torchmetrics(clip_folder, batch[above], [prompts[i] for i in above])
    estimate = measure(CLIP_SCORE, seen_by_clip(prompt_similarity=cosines[above]), [], None)
    assert estimate.value == pytest.approx(expected, rel=1e-4)


def test_similarities_are_cosines_of_each_image_with_its_own_prompt(clip):
    embedded = clip.embed_images(images())
    cosines = prompt_similarity(clip, embedded, PROMPTS)
    for i, prompt in enumerate(PROMPTS):
        text = clip.embed_prompts([prompt])[0]
        assert cosines[i] == pytest.approx(float(embedded[i] @ text), abs=1e-6)
    np.testing.assert_allclose(np.linalg.norm(embedded, axis=1), 1, atol=1e-6)
    assert cosines.std() > 1e-3  # the images do not all look alike


def test_cosines_below_zero_count_as_zero_one_by_one():
    cosines = np.array([0.5, -0.5, 0.25])
    assert measure(CLIP_SCORE, seen_by_clip(prompt_similarity=cosines), [], None) == mean(
        np.array([50.0, 0.0, 25.0])
    )


def test_what_was_not_observed_is_named(clip):
    with pytest.raises(DataError, match="clip_score needs prompts"):
        measure(CLIP_SCORE, seen_by_clip(prompt_quality=np.ones(3)), [], None)
    with pytest.raises(DataError, match="5 images have 2 prompts"):
        prompt_similarity(clip, clip.embed_images(images()), ["a", "b"])
