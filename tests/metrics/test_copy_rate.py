"""Copies counted on pictures whose distances are known by sight."""

from __future__ import annotations

import math

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


def test_the_distance_is_half_of_the_nearest_neighbours():
    forgotten, neighbours = flat(0.0, 0.5), flat(0.8, 1.0, 0.1)
    assert calibrate_distance(forgotten, neighbours) == pytest.approx(0.5 * 2 * 0.1)


def test_no_redrawn_neighbour_is_a_copy_up_to_half_of_the_distance():
    """What lies within the distance of a forgotten picture is nearer to it than to a neighbour."""
    forgotten, neighbours = random(2, 0), random(200, 1)
    distance = calibrate_distance(forgotten, neighbours)
    closest, nearest = divmod(int(distances(neighbours, forgotten).argmin()), len(forgotten))
    neighbour, picture = neighbours[closest], forgotten[nearest]
    if (neighbour - picture).norm() > (neighbour.flip(-1) - picture).norm():
        neighbour = neighbour.flip(-1)  # which is no further away
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
