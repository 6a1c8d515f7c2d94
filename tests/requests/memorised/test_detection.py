from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import Tensor

from efface.requests.memorised.detection import detect
from efface.requests.memorised.sampling import PromptSampler
from efface.requests.memorised.settings import LEAST_CONTROLS, MemorisedSettings
from efface.requests.memorised.similarity import PIXELS
from efface.requests.memorised.verdict import MEMORISED, NOT_MEMORISED

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
    encode, settings = sampler.denoiser.encode, own_settings(*SHORT)
    controls = encode([word for word in words if word != "red cat"][:LEAST_CONTROLS])
    image = memorised_image if given else None
    found = detect(sampler, encode([prompt]), controls, image, PIXELS, settings)
    assert found.detection.verdict == MEMORISED
    assert found.detection.share >= 0.7
    assert found.detection.norm_p == found.detection.similarity_p == 1 / (1 + LEAST_CONTROLS)
    assert (found.detection.copies_p is not None) == given
    assert len(found.controls) == LEAST_CONTROLS * settings.control_images
    other = detect(sampler, encode(["red cat"]), controls, image, PIXELS, settings)
    assert other.detection.verdict == NOT_MEMORISED
    assert other.detection.copies < 2


def test_a_threshold_that_was_given_is_kept(
    sampler: PromptSampler,
    prompt: str,
    words: list[str],
    own_settings: Callable[..., MemorisedSettings],
) -> None:
    encode, settings = (
        sampler.denoiser.encode,
        own_settings(*SHORT, "memorised.copy_similarity=-0.99"),
    )
    controls = encode(words[:LEAST_CONTROLS])
    found = detect(sampler, encode([prompt]), controls, None, PIXELS, settings)
    assert found.detection.threshold == -0.99
    assert found.detection.copies == settings.samples
