"""How often the model draws a forgotten picture again: samples within a distance of it.

Images are in model space [-1, 1]; distances are L2 over all pixels of images scaled to [0, 1].
`draw_images` gives [0, 1]: map its samples with 2 x - 1 first.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from efface.errors import DataError, RequestError
from efface.metrics.intervals import Estimate, proportion

CHUNK = 1024


def nearest(samples: Tensor, pictures: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Distance (N,) to the nearest of K pictures and its number (N,), for samples (N, ...)."""
    _check_range(samples)
    _check_range(pictures)
    distances, numbers = [], []
    for rows in samples.split(CHUNK):
        # The faster form with inner products loses small distances to rounding.
        between = torch.cdist(
            rows.flatten(1).float(),
            pictures.flatten(1).float(),
            compute_mode="donot_use_mm_for_euclid_dist",
        )
        smallest = between.min(1)
        distances.append(smallest.values.double() / 2)  # [-1, 1] is twice as wide as [0, 1]
        numbers.append(smallest.indices)
    return torch.cat(distances).cpu().numpy(), torch.cat(numbers).cpu().numpy()


def calibrate_distance(forgotten: Tensor, neighbours: Tensor, share: float = 0.5) -> float:
    """Distance below which a sample counts as a copy of a forgotten picture.

    `share` times the smallest distance between any forgotten picture (K, ...) and any neighbour
    (M, ...): real pictures that are not forgotten. By the triangle inequality a sample within half
    of that distance is nearer to the forgotten picture than to every neighbour, so a share up to
    0.5 never counts a redrawn neighbour as a copy. SISS has 10 where the nearest digit is at 11.49
    (share 0.87). Raises DataError if a neighbour is a forgotten picture.
    """
    if not 0 < share <= 1:
        raise RequestError(f"share {share} was given: a copy needs a share above 0 and up to 1.")
    smallest = float(nearest(neighbours, forgotten)[0].min())
    if smallest == 0:
        raise DataError(
            "a neighbour equals a forgotten picture, so that no distance tells copies apart: take "
            "it out of the neighbours."
        )
    return share * smallest


def copy_rate(samples: Tensor, pictures: Tensor, distance: float) -> tuple[Estimate, np.ndarray]:
    """Share of samples nearer than `distance` to any picture, and copies of each picture (K,).

    Wilson's interval. A sample counts for its nearest picture alone.
    """
    distances, numbers = nearest(samples, pictures)
    copies = distances < distance
    counts = np.bincount(numbers[copies], minlength=len(pictures))
    return proportion(int(copies.sum()), len(copies)), counts


def _check_range(images: Tensor) -> None:
    largest = float(images.abs().max())
    if not largest <= 1 + 1e-3:
        raise DataError(
            f"an image has a value of size {largest:g}: distances are for images in [-1, 1]. Scale "
            "or clamp them first."
        )
