"""Copies go to one side, everything else to the other, and what cannot be parted is refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from efface.errors import ConfigError, DataError
from efface.metrics.copy_similarity import pixels
from efface.requests.memorised.sampling import to_unit
from efface.requests.memorised.separation import separate, sides
from efface.requests.memorised.settings import MemorisedConfig
from efface.requests.memorised.similarity import CopyDetector


def synthetic(copies: int, total: int = 30) -> tuple[Tensor, Tensor, Tensor]:
    """Images, which of them are copies, and the picture; the others are variations of another."""
    generator = torch.Generator().manual_seed(copies)
    coarse = torch.rand(2, 3, 2, 2, generator=generator)[[0] + [1] * total]
    coarse = coarse + 0.15 * torch.randn(coarse.shape, generator=generator)
    images = torch.nn.functional.interpolate(coarse, size=8)
    planted = torch.randperm(total, generator=generator) < copies
    images[1:][planted] = images[0]
    images = images + 0.03 * torch.randn(images.shape, generator=generator)
    images = (images.clamp(0, 1) * 255).round().byte()
    return images[1:], planted, images[0]


def detector(picture: Tensor) -> CopyDetector:
    return CopyDetector(reference=to_unit(picture), threshold=0.9, features=pixels)


@pytest.mark.parametrize("by", ["kmeans", "similarity"])
@pytest.mark.parametrize("copies", [6, 15, 24])
def test_planted_copies_go_to_the_side_to_forget(by, copies: int) -> None:
    images, planted, picture = synthetic(copies)
    found = separate(images, detector(picture), by, 0.0, 4, 0)
    assert found.memorised.tolist() == planted.tolist()
    assert (found.count, found.agreement) == (copies, 1.0)
    forget, retain = sides(images, found)
    assert forget.equal(images[planted]) and retain.equal(images[~planted])


@pytest.mark.parametrize(("copies", "least"), [(0, 1), (1, 2), (29, 1), (30, 1), (3, 4)])
def test_a_split_with_next_to_nothing_on_one_side_is_refused(copies: int, least: int) -> None:
    images, _, picture = synthetic(copies)
    with pytest.raises(DataError, match="too small to learn from"):
        separate(images, detector(picture), "similarity", 0.0, least, 0)


def test_clusters_without_copies_are_refused() -> None:
    images, _, picture = synthetic(0)
    with pytest.raises(DataError, match="two groups among 30 pictures, but only 0 of the"):
        separate(images, detector(picture), "kmeans", 0.0, 2, 0)


@pytest.mark.parametrize("by", ["kmeans", "similarity"])
def test_what_is_nearly_a_copy_is_on_neither_side(by) -> None:
    """Of the 15 others the 7 most alike to the picture."""
    images, planted, picture = synthetic(15)
    found = separate(images, detector(picture), by, 0.5, 8, 0)
    forget, retain = sides(images, found)
    assert forget.equal(images[planted])
    similarity = detector(picture).similarity(to_unit(images))
    others = [i for i in range(30) if not planted[i]]
    farthest = sorted(sorted(others, key=lambda i: similarity[i])[:8])
    assert retain.equal(images[farthest])
    with pytest.raises(DataError, match="too small to learn from"):
        separate(images, detector(picture), by, 0.5, 9, 0)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"controls": 58}, "at least 59 control prompts"),
        ({"least_share": 0.9}, "no band"),
        ({"original_share": 1.5}, "share from 0 to 1"),
        ({"undecided": 1.0}, "share from 0 to below 1"),
        ({"control_share": 1.0}, "share from 0 to below 1"),
        ({"images": 1}, "give 2 or more"),
        ({"tries": 0}, "number above 0"),
        ({"copy_similarity": 1.0}, "between -1 and 1"),
        ({"descent_rate": 0.0}, "above 0"),
    ],
)
def test_settings_that_cannot_be(given: dict, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        MemorisedConfig(**given)
