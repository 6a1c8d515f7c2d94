"""How often the model draws a forgotten picture again: samples within a distance of it.

Images are uint8 or floats in [0, 1], as `draw_images` gives them; distances are L2 over all pixels.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from efface.data.split import distances
from efface.errors import DataError, RequestError
from efface.metrics.intervals import Estimate, proportion


def nearest(samples: Tensor, pictures: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Distance (N,) to the nearest of K pictures and its number (N,), for samples (N, ...)."""
    _check_range(samples)
    _check_range(pictures)
    smallest = distances(samples, pictures).min(1)
    return smallest.values.double().cpu().numpy(), smallest.indices.cpu().numpy()


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
    _check_range(samples)
    _check_range(pictures)
    return count_copies(distances(samples, pictures).cpu().numpy(), distance)


def count_copies(between: np.ndarray, distance: float) -> tuple[Estimate, np.ndarray]:
    """`copy_rate` of distances (N, K) between samples and pictures."""
    copies = between.min(1).astype(np.float64) < distance
    counts = np.bincount(between.argmin(1)[copies], minlength=between.shape[1])
    return proportion(int(copies.sum()), len(copies)), counts


def _check_range(images: Tensor) -> None:
    if images.is_floating_point() and not (images.min() >= -1e-3 and images.max() <= 1 + 1e-3):
        raise DataError(
            f"an image has values from {images.min():g} to {images.max():g}: distances are for "
            "images in [0, 1]. Scale or clamp them first."
        )
