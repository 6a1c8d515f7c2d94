"""Duplicates are found by their pixels, near ones by their distance."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from efface.data.images import ImageSet
from efface.data.split import copy_distance, distances, pixel_hash, split_images
from efface.errors import DataError


def images(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, 1, 4, 4), generator=generator, dtype=torch.uint8)


def make(pixels: torch.Tensor) -> ImageSet:
    return ImageSet(images=pixels, labels=None, names=tuple(f"{i}.png" for i in range(len(pixels))))


def test_hash_is_that_of_shape_and_pixels() -> None:
    a = images(1, 0)[0]
    assert pixel_hash(a) == pixel_hash(a.clone())
    assert pixel_hash(a) != pixel_hash(a.flip(0).view(1, 2, 8))
    assert pixel_hash(a) != pixel_hash(a ^ 1)


def test_exact_duplicates_are_dropped_and_near_ones_moved() -> None:
    forget, others = images(2, 0), images(5, 1)
    almost = forget[:1].clone()
    almost[0, 0, 0, 0] ^= 3
    retain = torch.cat([others, forget[1:], almost])
    split = split_images(make(forget), make(retain), near=0.02)
    assert (split.exact, split.near) == (1, 1)
    assert torch.equal(split.retain.images, others)
    assert torch.equal(split.forget.images, torch.cat([forget, almost]))
    assert split.forget.names == ("0.png", "1.png", "near duplicate 0")
    assert split.retain.names == tuple(f"{i}.png" for i in range(5))


def test_sets_that_overlap_entirely_are_refused() -> None:
    with pytest.raises(DataError, match="all retained images are images to forget"):
        split_images(make(images(3, 0)), make(images(3, 0)), near=0.02)


def test_sets_of_two_shapes_are_refused() -> None:
    with pytest.raises(DataError, match="one shape"):
        split_images(make(images(1, 0)), make(images(3, 0).view(3, 1, 2, 8)), near=0.02)


def test_distances_and_copy_distance() -> None:
    black, white = torch.zeros(1, 1, 2, 2).byte(), torch.full((1, 1, 2, 2), 255).byte()
    assert float(distances(black, white)) == pytest.approx(2.0)
    assert distances(white, black.float()).tolist() == [[2.0]]
    # One copy among five others does not move the median.
    others = torch.cat([white.repeat(5, 1, 1, 1), black])
    assert copy_distance(distances(others, black)) == pytest.approx(1.0)


def test_distances_equal_brute_force_across_chunks() -> None:
    samples = torch.rand(2500, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    pictures = torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    both = torch.stack([pictures, pictures.flip(-1)])
    difference = (samples[:, None, None] - both).double().flatten(3).numpy()
    expected = np.sqrt((difference**2).sum(3)).min(1)
    between = distances(samples, pictures).numpy()
    np.testing.assert_allclose(between, expected, rtol=1e-5)
    np.testing.assert_array_equal(between.argmin(1), expected.argmin(1))
    assert len(set(between.argmin(1).tolist())) == 5


def test_small_distances_are_not_lost_to_rounding() -> None:
    picture = torch.full((1, 1, 28, 28), 0.9).repeat(100, 1, 1, 1)
    sample = picture + 1e-4
    expected = float(sample[0, 0, 0, 0].double() - picture[0, 0, 0, 0].double()) * 28
    assert distances(sample, picture).numpy() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 16), (3, 5, 7), (1, 1, 9), (4, 6, 6)])
@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_a_mirrored_copy_is_a_copy(shape: tuple[int, ...], kind: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (21, *shape), generator=generator, dtype=torch.uint8)
    every = pixels if kind == torch.uint8 else pixels / 255
    image, others = every[:1], every[1:]
    between = distances(torch.cat([image.flip(-1), image, others]), image)
    assert between[:2].flatten().tolist() == [0, 0]
    assert int((between < copy_distance(between)).sum()) == 2
    assert torch.equal(between, distances(torch.cat([image, image.flip(-1), others]), image))


def test_a_mirrored_image_to_forget_is_not_retained() -> None:
    forget, others = images(2, 0), images(5, 1)
    split = split_images(make(forget), make(torch.cat([others, forget[:1].flip(-1)])))
    assert (split.exact, split.near) == (0, 1)
    assert split.retain is not None and torch.equal(split.retain.images, others)
