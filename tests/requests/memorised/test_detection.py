"""What tells a memorised prompt from others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from torch.testing import assert_close

from efface.diffusion.text.denoiser import TextDenoiser
from efface.metrics.copy_similarity import pixels
from efface.requests.memorised.detection import detect
from efface.requests.memorised.sampling import Drawing, repeat, seeds_for, to_unit
from efface.requests.memorised.settings import MemorisedConfig
from efface.requests.memorised.similarity import (
    CopyDetector,
    copy_threshold,
    likeness,
    mode,
    unit_features,
)
from efface.requests.memorised.text_noise import text_noise_norms
from efface.requests.memorised.verdict import (
    LEAST_CONTROLS,
    MEMORISED,
    NOT_MEMORISED,
    copies_p_value,
    judge,
    p_value,
)
from tests.requests.memorised.conftest import PROMPT, WORDS, memorised_picture

CONFIG = MemorisedConfig(samples=8, noises=2)
PIXELS = pixels, "correlation of pixels"


def test_the_norm_is_what_the_prompt_adds_to_the_prediction_from_pure_noise(
    memorising: TextDenoiser,
) -> None:
    """Against the posterior mean at the last timestep, written out for two prompts."""
    seeds = range(5, 8)
    found = text_noise_norms(memorising, memorising.encode([PROMPT, "red cat"]), seeds)
    noise = torch.stack(
        [torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(s)) for s in seeds]
    )
    last = torch.full((3,), 999)
    for prompt, norms in zip((PROMPT, "red cat"), found, strict=True):
        rows = memorising.encode([prompt] * 3)
        difference = (
            memorising(noise, last, rows).eps - memorising(noise, last, memorising.null(rows)).eps
        )
        assert_close(torch.from_numpy(norms), difference.flatten(1).norm(dim=1))
    assert found[0].min() > 10 * found[1].max()


def test_likeness_is_the_mean_over_pairs_and_the_mode_lies_among_copies() -> None:
    generator = torch.Generator().manual_seed(0)
    picture = torch.rand(3, 8, 8, generator=generator)
    others = torch.rand(4, 3, 8, 8, generator=generator)
    copies = (picture + 0.02 * torch.randn(3, 3, 8, 8, generator=generator)).clamp(0, 1)
    images = torch.cat([others, copies])
    units = unit_features(pixels, images)
    pairs = [np.corrcoef(a.flatten(), b.flatten())[0, 1]
             for i, a in enumerate(images) for b in images[:i]]  # fmt: skip
    assert likeness(units) == pytest.approx(np.mean(pairs), abs=1e-6)
    assert mode(units) >= len(others)
    detector = CopyDetector(reference=picture, threshold=0.9, features=pixels)
    assert detector.copies(images).tolist() == [False] * 4 + [True] * 3


def test_a_copy_lies_within_half_of_the_distance_of_the_nearest_control() -> None:
    threshold = copy_threshold(np.array([0.1, 0.6, 0.6, 0.6]))
    distance = (2 - 2 * threshold) ** 0.5
    assert distance == pytest.approx((2 - 2 * 0.6) ** 0.5 / 2)


def test_p_values_count_and_are_those_of_fishers_test() -> None:
    assert p_value(3.0, np.array([1.0, 2.0, 3.0, 4.0])) == 3 / 5
    assert p_value(9.0, np.zeros(LEAST_CONTROLS)) * 3 <= 0.05
    _, expected = stats.fisher_exact([[3, 13], [1, 117]], alternative="greater")
    assert copies_p_value(3, 16, 1, 118) == pytest.approx(expected)
    assert judge([0.016, 0.4, 0.9], copies=5) == MEMORISED
    assert judge([0.03, 0.4, 0.9], copies=5) == NOT_MEMORISED
    assert judge([0.001, 0.001], copies=1) == NOT_MEMORISED


def test_verdicts_of_prompts_without_a_memorised_picture_are_seldom_false_alarms() -> None:
    """Of 2000 draws in which the prompt is one like the controls: at most 5 %."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(2000, 3, 1 + LEAST_CONTROLS))
    alarms = [judge([p_value(s[0], s[1:]) for s in run], copies=9) == MEMORISED for run in scores]
    assert 0.02 < np.mean(alarms) < 0.06


@pytest.mark.parametrize("given", [True, False])
def test_the_memorised_prompt_is_told_and_another_is_not(drawing: Drawing, given: bool) -> None:
    encode = drawing.denoiser.encode
    controls = [word for word in WORDS if word != "red cat"][:LEAST_CONTROLS]
    picture = None
    if given:
        picture = memorised_picture(drawing.denoiser)
    found = detect(drawing, encode([PROMPT]), encode(controls), picture, PIXELS, CONFIG)
    assert found.detection.verdict == MEMORISED
    assert found.detection.share >= 0.7
    assert found.detection.norm_p == found.detection.likeness_p == 1 / (1 + LEAST_CONTROLS)
    assert (found.detection.copies_p is not None) == given
    other = detect(drawing, encode(["red cat"]), encode(controls), picture, PIXELS, CONFIG)
    assert other.detection.verdict == NOT_MEMORISED
    assert other.detection.copies < 2


def test_a_threshold_that_was_given_is_kept(drawing: Drawing) -> None:
    encode = drawing.denoiser.encode
    config = replace(CONFIG, copy_similarity=-0.99)
    controls = WORDS[:LEAST_CONTROLS]
    found = detect(drawing, encode([PROMPT]), encode(controls), None, PIXELS, config)
    assert found.detection.threshold == -0.99
    assert found.detection.copies == config.samples


def test_pictures_depend_on_their_seed_alone(drawing: Drawing) -> None:
    asked = drawing.denoiser.encode([PROMPT])
    seeds = seeds_for(0, "prompt", 5)
    whole = drawing.of(asked, seeds, "")
    part = drawing(repeat(asked, 2), seeds[3:], "")
    assert (whole[3:].int() - part.int()).abs().max() <= 1
    assert set(seeds).isdisjoint(seeds_for(0, "search", 5))
    assert to_unit(whole).max() <= 1
