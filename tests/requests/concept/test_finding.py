"""What finds a concept in samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from efface.evaluation.views import ClipView, DetectorView
from efface.metrics.clip import load_clip
from efface.requests.concept.finding import (
    concept_scores,
    describe_concept,
    find_finder,
)


def images(count: int) -> torch.Tensor:
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_a_detector_is_preferred_to_a_clip(view: DetectorView, clip_folder: Path) -> None:
    clip = ClipView(clip=load_clip(clip_folder))
    assert find_finder({"clip": clip, "detector": view}) is view
    assert find_finder({"clip": clip}) is clip and find_finder({}) is None
    assert (view.threshold, clip.threshold) == (0.4, 0.5)


def test_a_clip_chooses_between_two_texts(clip_folder: Path) -> None:
    """Against a softmax over two logits computed one image at a time."""
    view = ClipView(clip=load_clip(clip_folder))
    arrays = view(images(3))
    contrasts = [("a bag", "a coat"), ("a coat", "a bag"), ("red bag", "a coat")]
    scores = concept_scores(view, arrays, contrasts)
    for image, pair, score in zip(arrays["embedded"], contrasts, scores, strict=True):
        embedded = [view.clip.embed_prompts([text])[0] for text in pair]
        logits = [view.clip.temperature * float(text @ image) for text in embedded]
        assert score == pytest.approx(1 / (1 + np.exp(logits[1] - logits[0])), rel=1e-3)


def test_a_detector_needs_no_texts(view: DetectorView) -> None:
    arrays = view(images(4))
    assert (concept_scores(view, arrays, []) == arrays["probabilities"][:, 0]).all()


def test_prompts_and_phrases_are_described_differently(
    view: DetectorView, clip_folder: Path
) -> None:
    clip = ClipView(clip=load_clip(clip_folder))
    assert "replacement" in describe_concept(clip, ("bag", "coat"))
    assert "target" in describe_concept(clip, None)
    assert describe_concept(view, None) == view.extractor["name"]
