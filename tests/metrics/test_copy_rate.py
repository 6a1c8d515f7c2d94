"""Copies counted on pictures whose distances are known by sight."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from efface.data.split import distances
from efface.errors import DataError
from efface.metrics.copy_rate import calibrate_distance, count_copies
from efface.metrics.intervals import proportion
from tests.metrics.ends import ends


def flat(*greys: float) -> torch.Tensor:
    """Evenly grey 1x2x2 pictures: greys g and h in [0, 1] are 2 |g - h| apart."""
    return torch.tensor(greys).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)


def random(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, 4, 4, generator=generator)


def copies(samples: torch.Tensor, pictures: torch.Tensor, distance: float):
    return count_copies(distances(samples, pictures).numpy(), distance)


def test_distance_is_that_of_pixels_scaled_to_the_unit_range():
    black, white = flat(0.0), (flat(1.0) * 255).byte()
    assert distances(white, black).tolist() == [[2.0]]


def test_distances_equal_brute_force_across_chunks():
    samples, pictures = random(2500, 0), random(5, 1)
    difference = (samples[:, None] - pictures[None]).double().flatten(2).numpy()
    expected = np.sqrt((difference**2).sum(2))
    between = distances(samples, pictures).numpy()
    np.testing.assert_allclose(between, expected, rtol=1e-5)
    np.testing.assert_array_equal(between.argmin(1), expected.argmin(1))
    assert len(set(between.argmin(1).tolist())) == 5


def test_small_distances_are_not_lost_to_rounding():
    picture = torch.full((1, 1, 28, 28), 0.9).repeat(100, 1, 1, 1)
    sample = picture + 1e-4
    expected = float(sample[0, 0, 0, 0].double() - picture[0, 0, 0, 0].double()) * 28
    assert distances(sample, picture).numpy() == pytest.approx(expected, rel=1e-4)


def test_the_distance_is_half_of_the_nearest_neighbours():
    forgotten, neighbours = flat(0.0, 0.5), flat(0.8, 1.0, 0.1)
    assert calibrate_distance(forgotten, neighbours) == pytest.approx(0.5 * 2 * 0.1)


def test_no_redrawn_neighbour_is_a_copy_up_to_half_of_the_distance():
    """What lies within the distance of a forgotten picture is nearer to it than to a neighbour."""
    forgotten, neighbours = random(2, 0), random(200, 1)
    distance = calibrate_distance(forgotten, neighbours)
    closest, nearest = divmod(int(distances(neighbours, forgotten).argmin()), len(forgotten))
    neighbour, picture = neighbours[closest], forgotten[nearest]
    for part, is_copy in ((0.0, 1), (0.49, 1), (0.51, 0), (1.0, 0)):
        sample = (picture + part * (neighbour - picture))[None]
        assert copies(sample, forgotten, distance)[1].sum() == is_copy


def test_copies_are_counted_by_picture_out_of_all_samples():
    pictures = flat(0.0, 1.0, 0.5)
    samples = flat(0.01, 0.02, 0.3, 0.98, 0.7, 0.0, 0.74)
    estimate, counts = copies(samples, pictures, distance=2 * 0.05)
    assert counts.tolist() == [3, 1, 0]
    assert ends(estimate) == ends(proportion(4, 7))


def test_a_sample_at_the_distance_is_no_copy():
    pictures, sample = flat(0.0), flat(0.25)
    assert copies(sample, pictures, distance=0.5)[0].value == 0
    assert copies(sample, pictures, distance=math.nextafter(0.5, 1))[0].value == 1


def test_a_neighbour_that_is_a_forgotten_picture_is_refused():
    with pytest.raises(DataError, match="a neighbour equals a forgotten image"):
        calibrate_distance(flat(0.0, 0.5), flat(0.3, 0.5))


@pytest.mark.parametrize("wrong", [255.0, math.nan, -0.5])
def test_images_outside_of_the_unit_range_are_refused(wrong):
    image = flat(0.0).clone()
    image[0, 0, 0, 0] = wrong
    for forgotten, neighbours in ((image, flat(0.3)), (flat(0.3), image)):
        with pytest.raises(DataError, match=r"images in \[0, 1\]"):
            calibrate_distance(forgotten, neighbours)
