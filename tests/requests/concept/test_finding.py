"""What finds a concept in samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from efface.evaluation.views import ClipView, DetectorView
from efface.metrics.clip import load_clip
from efface.requests.concept.finding import ClipFinder, find_finders


def images(count: int) -> torch.Tensor:
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_a_detector_is_preferred_to_a_clip(view: DetectorView, clip_folder: Path) -> None:
    clip = ClipView(clip=load_clip(clip_folder))
    found = find_finders({"clip": clip, "detector": view}, None)
    assert list(found) == ["detector", "clip"] and found["detector"] is view
    assert list(find_finders({"clip": clip}, None)) == ["clip"] and not find_finders({}, None)
    assert (found["detector"].threshold, found["clip"].threshold) == (0.4, 0.5)
    assert found["clip"].digest == clip.digest


PAIRS = [("a bag", "a coat"), ("a coat", "a bag"), ("red bag", "a coat")]


@pytest.mark.parametrize(
    ("phrases", "labels", "texts"),
    [
        (None, (), [*PAIRS, PAIRS[0]]),
        (("a bag", "a coat"), (), [PAIRS[0]] * 4),
        (("a bag", "a coat"), ("a bag",), [PAIRS[0]] * 4),
        (("a bag", "a coat"), ("a coat",), [PAIRS[1]] * 4),
        (("a bag", "a coat"), ("A  Coat",), [("A  Coat", "a bag")] * 4),
        (("a bag", "a coat"), ("a cup",), [("a cup", "a bag", "a coat")] * 4),
    ],
)
def test_a_clip_chooses_between_texts(
    clip_folder: Path,
    phrases: tuple[str, str] | None,
    labels: tuple[str, ...],
    texts: list[tuple[str, ...]],
) -> None:
    """Against a softmax over logits computed one image at a time."""
    finder = ClipFinder(clip=load_clip(clip_folder), phrases=phrases, pairs=PAIRS)
    arrays = finder(images(4))
    scores = finder.scores(arrays, labels)
    for image, several, score in zip(arrays["embedded"], texts, scores, strict=True):
        embedded = [finder.clip.embed_prompts([text])[0] for text in several]
        logits = np.array([finder.clip.temperature * float(text @ image) for text in embedded])
        assert score == pytest.approx(1 / np.exp(logits - logits[0]).sum(), rel=1e-3)


def test_a_detector_needs_no_texts(view: DetectorView) -> None:
    arrays = view(images(4))
    assert (view.scores(arrays) == arrays["probabilities"][:, 0]).all()
    assert (view.scores(arrays, ["coat"]) == arrays["probabilities"][:, 1]).all()


def test_what_is_sought_is_named(view: DetectorView, clip_folder: Path) -> None:
    clip = load_clip(clip_folder)
    phrases = ClipFinder(clip=clip, phrases=("bag", "coat"))
    assert "the concept and its replacement" in phrases.measured_with
    assert (
        "what each sample was asked for and what replaces it"
        in ClipFinder(clip=clip, phrases=None).measured_with
    )
    assert view.measured_with == view.extractor["name"]
    assert view.described_as(view.name_sought()) == view.extractor
    assert phrases.name_sought(["boot"]) == "'boot' rather than 'bag' or 'coat'"
    assert phrases.described_as("it")["name"] == f"{clip.name}, it"
