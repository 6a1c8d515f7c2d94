from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from efface.errors import DataError
from efface.requests.memorised.sampling import PromptSampler, to_unit
from efface.requests.memorised.settings import MemorisedSettings
from efface.requests.memorised.similarity import PIXELS, CopyDetector, separate

Own = Callable[..., MemorisedSettings]


def synthetic(copies: int, total: int = 30) -> tuple[Tensor, Tensor, Tensor]:
    """Images, which of them are copies, and the image; the others are variations of another."""
    generator = torch.Generator().manual_seed(copies)
    coarse = torch.rand(2, 3, 2, 2, generator=generator)[[0] + [1] * total]
    coarse = coarse + 0.15 * torch.randn(coarse.shape, generator=generator)
    images = torch.nn.functional.interpolate(coarse, size=8)
    planted = torch.randperm(total, generator=generator) < copies
    images[1:][planted] = images[0]
    images = images + 0.03 * torch.randn(images.shape, generator=generator)
    images = (images.clamp(0, 1) * 255).round().byte()
    return images[1:], planted, images[0]


def detector_for(image: Tensor) -> CopyDetector:
    return CopyDetector(reference=to_unit(image), threshold=0.9, comparison=PIXELS)


def given(own_settings: Own, undecided: float, least_rows: int) -> MemorisedSettings:
    changes = {"undecided": undecided, "least_rows": least_rows}
    return own_settings(*(f"memorised.{name}={value}" for name, value in changes.items()))


@pytest.mark.parametrize("copies", [6, 15, 24])
def test_planted_copies_go_to_the_side_to_forget(own_settings: Own, copies: int) -> None:
    images, planted, image = synthetic(copies)
    found = separate(images, detector_for(image), given(own_settings, 0.0, 4))
    assert found.forget.equal(images[planted]) and found.retain.equal(images[~planted])
    assert found.undecided == 0


@pytest.mark.parametrize(("copies", "least"), [(0, 1), (1, 2), (29, 1), (30, 1), (3, 4)])
def test_a_split_with_next_to_nothing_on_one_side_is_refused(
    own_settings: Own, copies: int, least: int
) -> None:
    images, _, image = synthetic(copies)
    settings = given(own_settings, 0.0, least)
    with pytest.raises(DataError, match=r"(?s)too small.*--modified-prompt.*memorised\.images"):
        separate(images, detector_for(image), settings)


def test_near_copies_are_on_neither_side(own_settings: Own) -> None:
    """Of the 15 others the 7 most similar to the image."""
    images, planted, image = synthetic(15)
    found = separate(images, detector_for(image), given(own_settings, 0.5, 8))
    assert found.forget.equal(images[planted]) and found.undecided == 7
    similarity = detector_for(image).similarity(to_unit(images))
    others = [i for i in range(30) if not planted[i]]
    farthest = sorted(others, key=lambda i: similarity[i])[:8]
    assert found.retain.equal(images[sorted(farthest)])
    with pytest.raises(DataError, match="too small"):
        separate(images, detector_for(image), given(own_settings, 0.5, 9))


def test_samples_of_a_partly_memorised_prompt_are_separated(
    sampler: PromptSampler, detector: CopyDetector, own_settings: Own, prompt: str
) -> None:
    """Copies are similar to a few grey levels, others are not."""
    settings = own_settings("memorised.images=40")
    images = sampler.sample([prompt], settings.images, "synthetic")
    sides = separate(images, detector, settings)
    copies, others = sides.forget.float(), sides.retain.float()
    assert 0.05 <= len(copies) / 40 <= 0.95
    assert len(copies) + len(others) + sides.undecided == 40
    assert (copies - copies.mean(0)).abs().mean() < 0.3 * (others - others.mean(0)).abs().mean()
