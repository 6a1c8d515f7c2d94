"""Which images are forgotten and which retained: hashes, duplicates, and how near a copy is."""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from efface.data.images import ImageSet
from efface.errors import DataError

COPY_SHARE = 0.5
ALIKE_SHARE = 0.8  # of the same distance: what a model may have learned from the images
NEAR_DUPLICATE = 0.05  # root mean square difference, pixels from 0 to 1
CHUNK = 1024


def pixel_hash(image: Tensor) -> str:
    """SHA-256 of an image's shape and pixels (C, H, W) uint8, whatever file it came from."""
    header = "x".join(map(str, image.shape)).encode()
    return hashlib.sha256(header + b":" + image.contiguous().numpy().tobytes()).hexdigest()


def distances(images: Tensor, others: Tensor) -> Tensor:
    """L2 distances, pixels from 0 to 1: (N, C, H, W) and (K, C, H, W) -> (N, K).

    To the image or its mirror image, whichever is nearer: models are often trained on both. Images
    are uint8, or floats in [0, 1].
    """
    banks = _pixels(others), _pixels(others.flip(-1))
    # The faster form with inner products loses small distances to rounding.
    exact = "donot_use_mm_for_euclid_dist"
    parts = [
        torch.minimum(*(torch.cdist(_pixels(rows), bank, compute_mode=exact) for bank in banks))
        for rows in images.split(CHUNK)
    ]
    return torch.cat(parts)


def _pixels(images: Tensor) -> Tensor:
    flat = images.flatten(1).float()
    return flat if images.is_floating_point() else flat / 255


def copy_distance(between: Tensor, share: float = COPY_SHARE) -> float:
    """How near a sample must be to count as a copy: half the typical distance between images.

    From distances (N, K) of other images to K images: the smallest median over the K. A
    median, so that a few copies among the others do not move it.
    """
    return share * float(between.median(0).values.min())


@dataclass(frozen=True, eq=False, kw_only=True)
class Split:
    """Images to forget, retained images, and what was moved from the second to the first."""

    forget: ImageSet
    retain: ImageSet | None = None  # None: the model generates them
    exact: int = 0  # retained images with the very pixels of an image to forget: dropped
    near: int = 0  # retained images almost like one: moved to the images to forget


def split_images(forget: ImageSet, retain: ImageSet, near: float = NEAR_DUPLICATE) -> Split:
    """Move duplicates of images to forget out of the retained ones.

    `near` is a distance as root mean square over pixels from 0 to 1. Raises DataError where
    shapes differ or nothing would be left.
    """
    if forget.images.shape[1:] != retain.images.shape[1:]:
        raise DataError(
            f"the images to forget have shape {tuple(forget.images.shape[1:])} and the retained "
            f"ones {tuple(retain.images.shape[1:])}: give images of one shape."
        )
    hashes = {pixel_hash(image) for image in forget.images}
    same = torch.tensor([pixel_hash(image) in hashes for image in retain.images])
    pixels = forget.images[0].numel()
    nearest = distances(retain.images, forget.images).min(1).values
    close = (nearest <= near * pixels**0.5) & ~same
    kept = retain.select((~same & ~close).nonzero()[:, 0])
    if len(kept) == 0:
        raise DataError(
            "all retained images are images to forget: give retained images of another kind, or "
            "'generate'."
        )
    joined = ImageSet(
        images=torch.cat([forget.images, retain.images[close]]),
        labels=None,
        names=(*forget.names, *(f"near duplicate {i}" for i in range(int(close.sum())))),
    )
    return Split(forget=joined, retain=kept, exact=int(same.sum()), near=int(close.sum()))
