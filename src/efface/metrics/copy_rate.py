"""How often the model draws a forgotten image again: samples within a distance of it.

Images are uint8 or floats in [0, 1], as `draw_images` gives them; distances are L2 over all pixels.
"""

import numpy as np
from torch import Tensor

from efface.data.split import COPY_SHARE, distances
from efface.errors import DataError
from efface.metrics.intervals import Estimate, bounded_mean


def calibrate_distance(forgotten: Tensor, neighbours: Tensor) -> float:
    """Distance below which a sample counts as a copy of a forgotten image.

    Half of the smallest distance between any forgotten image (K, ...) and any neighbour (M, ...):
    real images that are not forgotten. By the triangle inequality a sample within it is nearer to
    the forgotten image than to every neighbour, so a redrawn neighbour never counts as a copy.
    SISS has 10 where the nearest digit is at 11.49 (a share of 0.87). Raises DataError if a
    neighbour is a forgotten image.
    """
    _check_range(forgotten)
    _check_range(neighbours)
    smallest = float(distances(neighbours, forgotten).min())
    if smallest == 0:
        raise DataError(
            "a neighbour equals a forgotten image, so that no distance tells copies apart: take "
            "it out of the neighbours."
        )
    return COPY_SHARE * smallest


def count_copies(between: np.ndarray, distance: float) -> tuple[Estimate, np.ndarray]:
    """Share of samples nearer than `distance` to any image, and copies of each image (K,).

    From distances (N, K) between samples and images. Exact interval. A sample counts for its
    nearest image alone.
    """
    copies = between.min(1).astype(np.float64) < distance
    counts = np.bincount(between.argmin(1)[copies], minlength=between.shape[1])
    return bounded_mean(copies), counts


def _check_range(images: Tensor) -> None:
    if images.is_floating_point() and not (images.min() >= -1e-3 and images.max() <= 1 + 1e-3):
        raise DataError(
            f"an image has values from {images.min():g} to {images.max():g}: distances are for "
            "images in [0, 1]. Scale or clamp them first."
        )
