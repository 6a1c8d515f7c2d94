from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats
from torch import Tensor

from efface.requests.memorised.detection import FALSE_ALARMS, detect, p_value, stands_out
from efface.requests.memorised.sampling import PromptSampler
from efface.requests.memorised.settings import LEAST_CONTROLS, MemorisedSettings
from efface.requests.memorised.similarity import PIXELS, CopyDetector

SHORT = ("memorised.samples=8", "memorised.noises=2")


@pytest.mark.parametrize("given", [True, False])
def test_the_memorised_prompt_is_detected_and_another_is_not(
    sampler: PromptSampler,
    prompt: str,
    words: list[str],
    memorised_image: Tensor,
    own_settings: Callable[..., MemorisedSettings],
    given: bool,
) -> None:
    settings = own_settings(*SHORT)
    controls = [word for word in words if word != "red cat"][:LEAST_CONTROLS]
    image = memorised_image if given else None
    found = detect(sampler, prompt, controls, image, PIXELS, settings)
    assert found.is_memorised and found.samples == 8 and found.copies >= 6
    assert found.norm_p == found.similarity_p == 1 / (1 + LEAST_CONTROLS)
    assert len(found.control_images) == LEAST_CONTROLS * settings.control_images
    assert len(found.sheet()) == 1 + len(found.prompt_images)
    other = detect(sampler, "red cat", controls, image, PIXELS, settings)
    assert not other.is_memorised and other.copies < 2
    if image is None:
        assert found.copies_p is None
        return
    assert found.reference.equal(image)
    copies = CopyDetector(reference=image, threshold=found.threshold, comparison=PIXELS)
    among = int(copies.copies(found.control_images.float() / 255).sum())
    counts = (found.copies, among), (8 - found.copies, len(found.control_images) - among)
    _, expected = stats.fisher_exact(counts, alternative="greater")
    assert found.copies_p == pytest.approx(expected)


def test_a_threshold_that_was_given_is_kept(
    sampler: PromptSampler,
    prompt: str,
    words: list[str],
    own_settings: Callable[..., MemorisedSettings],
) -> None:
    settings = own_settings(*SHORT, "memorised.copy_similarity=-0.99")
    found = detect(sampler, prompt, words[:LEAST_CONTROLS], None, PIXELS, settings)
    assert (found.threshold, found.copies) == (-0.99, settings.samples)


def test_p_values_count_the_prompt_and_one_of_several_signals_is_enough() -> None:
    assert p_value(3.0, np.array([1.0, 2.0, 3.0, 4.0])) == 3 / 5
    assert p_value(9.0, np.zeros(LEAST_CONTROLS)) * 3 <= FALSE_ALARMS
    assert stands_out([0.016, 0.4, 0.9]) and not stands_out([0.03, 0.4, 0.9])


def test_prompts_without_a_memorised_image_are_seldom_false_alarms() -> None:
    """Of 2000 draws in which the prompt is one like the controls: at most 5 %."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(2000, 3, 1 + LEAST_CONTROLS))
    alarms = [stands_out([p_value(s[0], s[1:]) for s in run]) for run in scores]
    assert 0.02 < np.mean(alarms) < 0.06
