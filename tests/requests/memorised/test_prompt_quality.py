"""How good pictures of a memorised picture's own prompts look to a CLIP, computed by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from scipy import stats
from torch import Tensor

from efface.diffusion.loading import load_text
from efface.diffusion.sampling import MultiStep, draw_images
from efface.records import Evaluation, Value, read_evaluation
from efface.requests.base import ForgetMemorised
from efface.runs.forget import forget
from tests.diffusion.text.conftest import pipelines as pipelines
from tests.metrics.test_clip import folder as clip_folder  # noqa: F401
from tests.metrics.test_clip import tokenizer
from tests.requests.memorised.conftest import WORDS
from tests.requests.memorised.test_runs import SMALL

ASKED = {"prompt_clip_iqa": "a red bag", "prompt_clip_iqa_modified": "a bag"}
SEEDS = range(1000, 1006)


@pytest.fixture(scope="module")
def run(
    pipelines: Callable[[str], Path],
    clip_folder: Path,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A run that a CLIP looks at from the beginning, as the page about it asks for one."""
    root = tmp_path_factory.mktemp("looked")
    (root / "controls.txt").write_text("\n".join(WORDS))
    request = ForgetMemorised(
        prompt=ASKED["prompt_clip_iqa"],
        modified_prompt=ASKED["prompt_clip_iqa_modified"],
        control_prompts=str(root / "controls.txt"),
    )
    changes = [*SMALL, "train.learning_rate=1e-2", f"memorised.samples={len(SEEDS)}"]
    changes += [f"evaluate.clip={str(clip_folder)!r}"]
    return forget(pipelines("sd"), request, root / "run", changes=changes)


@pytest.fixture(scope="module")
def evaluation(run: Path) -> Evaluation:
    return read_evaluation(run)


def pictures(model: Path, prompt: str) -> list[Tensor]:
    """One by one, (3, H, W) of 256 levels."""
    denoiser = load_text(model)
    asked = denoiser.encode([prompt])
    drawn = torch.cat([draw_images(denoiser, MultiStep(2), asked, [seed]) for seed in SEEDS])
    return [image.mul(255).round().byte() for image in drawn]


@torch.inference_mode()
def probabilities(folder: Path, images: list[Tensor]) -> np.ndarray:
    """Of "Good photo." against "Bad photo.", by transformers alone: exp(s g) over both."""
    network: Any = transformers.CLIPModel.from_pretrained(folder).eval()
    words = tokenizer()(["Good photo.", "Bad photo."], return_tensors="pt", padding=True)
    pixels = transformers.CLIPImageProcessorPil.from_pretrained(folder)(images, return_tensors="pt")
    logits = network(**words, **pixels).logits_per_image.double().numpy()
    return 1 / (1 + np.exp(logits[:, 1] - logits[:, 0]))


@pytest.mark.parametrize("metric", ASKED)
def test_it_is_that_of_pictures_drawn_by_hand(
    evaluation: Evaluation,
    run: Path,
    pipelines: Callable[[str], Path],
    clip_folder: Path,  # noqa: F811
    metric: str,
) -> None:
    """Student's interval of the mean, for the result and for the untouched model."""
    found = evaluation.get(metric)
    assert found is not None
    assert (found.samples, found.seeds) == (len(SEEDS), [SEEDS[0], SEEDS[-1]])
    own = Value(value=found.value, low=found.low, high=found.high)
    means = []
    for model, figure in ((run / "pipeline", own), (pipelines("sd"), found.baseline)):
        by_hand = probabilities(clip_folder, pictures(model, ASKED[metric]))
        assert by_hand.std() > 1e-3  # the pictures do not all look alike
        means.append(by_hand.mean())
        reach = stats.t.ppf(0.975, len(SEEDS) - 1) * by_hand.std(ddof=1) / math.sqrt(len(SEEDS))
        assert figure.value == pytest.approx(by_hand.mean(), abs=2e-3)
        assert figure.high - figure.low == pytest.approx(2 * reach, rel=0.02)
    assert abs(means[0] - means[1]) > 4e-3  # beyond what a picture's rounding makes of it


def test_it_says_who_was_asked_and_which_clip_looked(
    evaluation: Evaluation,
    clip_folder: Path,  # noqa: F811
) -> None:
    for metric, asked in (
        ("prompt_clip_iqa", "asked for by the prompt;"),
        ("prompt_clip_iqa_modified", "asked for by the modified prompt;"),
    ):
        found, other = evaluation.get(metric), evaluation.get("clip_iqa")
        assert found is not None and found.extractor is not None and other is not None
        assert found.extractor["name"] == clip_folder.name
        assert found.extractor == other.extractor
        assert asked in found.protocol
        assert found.higher_is_better is True and found.unit == "mean probability"
