"""A CLIP's quality of samples of a memorised image's own prompts, computed by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor

from efface.diffusion.sampling import MultiStep, draw_images
from efface.metrics.intervals import mean
from efface.records import Evaluation, Value, read_evaluation
from tests.metrics.clips import tokenizer
from tests.text_pipelines import load_text

PROMPTS = {"prompt_clip_iqa": "a red bag", "prompt_clip_iqa_modified": "a bag"}
SEEDS = range(1000, 1010)


@pytest.fixture(scope="module")
def evaluation(run: Path) -> Evaluation:
    return read_evaluation(run)


def images_of(model: Path, prompt: str) -> list[Tensor]:
    """One by one, (3, H, W) of 256 levels."""
    denoiser = load_text(model)
    condition = denoiser.encode([prompt])
    images = [draw_images(denoiser, MultiStep(2), condition, [seed]) for seed in SEEDS]
    return [image.mul(255).round().byte() for image in torch.cat(images)]


@torch.inference_mode()
def probabilities(folder: Path, images: list[Tensor]) -> np.ndarray:
    """Of "Good photo." against "Bad photo.", by transformers alone: exp(s g) over both."""
    network: Any = transformers.CLIPModel.from_pretrained(folder).eval()
    words = tokenizer()(["Good photo.", "Bad photo."], return_tensors="pt", padding=True)
    pixels = transformers.CLIPImageProcessorPil.from_pretrained(folder)(images, return_tensors="pt")
    logits = network(**words, **pixels).logits_per_image.double().numpy()
    return 1 / (1 + np.exp(logits[:, 1] - logits[:, 0]))


@pytest.mark.parametrize("metric", PROMPTS)
def test_it_is_that_of_images_sampled_by_hand(
    evaluation: Evaluation,
    run: Path,
    pipelines: Callable[[str], Path],
    clip_folder: Path,
    metric: str,
) -> None:
    """The mean and its interval, for the result and for the original model."""
    found = evaluation.get(metric)
    assert found is not None
    assert (found.samples, found.seeds) == (len(SEEDS), [SEEDS[0], SEEDS[-1]])
    own = Value(value=found.value, low=found.low, high=found.high)
    means = []
    for model, figure in ((run / "pipeline", own), (pipelines("sd"), found.baseline)):
        by_hand = probabilities(clip_folder, images_of(model, PROMPTS[metric]))
        assert by_hand.std() > 1e-3  # the images are not all alike
        means.append(by_hand.mean())
        expected = mean(by_hand)
        assert figure.value == pytest.approx(by_hand.mean(), abs=2e-3)
        assert figure.high - figure.low == pytest.approx(expected.high - expected.low, rel=0.02)
    assert abs(means[0] - means[1]) > 4e-3  # beyond what rounding pixels makes of it


def test_it_says_which_prompt_and_which_clip(evaluation: Evaluation, clip_folder: Path) -> None:
    for metric, prompt in (
        ("prompt_clip_iqa", "conditioned on the prompt;"),
        ("prompt_clip_iqa_modified", "conditioned on the modified prompt;"),
    ):
        found, other = evaluation.get(metric), evaluation.get("clip_iqa")
        assert found is not None and found.extractor is not None and other is not None
        assert found.extractor["name"] == clip_folder.name
        assert found.extractor == other.extractor
        assert prompt in found.protocol
        assert found.spec.better == "more" and found.unit == "mean probability"
