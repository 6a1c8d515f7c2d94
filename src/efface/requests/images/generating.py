"""Retained images that a model generates itself, cleaned of copies and of what is like them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from efface.data.split import ALIKE_SHARE, copy_distance, distances
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.sampling import MultiStep, draw_images
from efface.errors import DataError
from efface.progress import Bar

GENERATED_SEED = 9_000_000  # away from the seeds of training and evaluation


@dataclass(frozen=True, eq=False, kw_only=True)
class Generated:
    """Samples (N, C, H, W) uint8 that are not like an image to forget, and how many were."""

    images: Tensor
    copies: int  # samples that were copies of an image to forget
    alike: int  # and samples that were not, but too like one to teach the model what is retained


def generate_retained(denoiser: Denoiser, forget: Tensor, count: int, steps: int) -> Generated:
    """Sample `count` images and drop all that are too close to those to forget (K, C, H, W) uint8.

    A model that has memorised an image generates distorted ones too, which lie between its copies
    and all else; kept, they hold on to the image. DataError where nothing is left.
    """
    seeds = range(GENERATED_SEED, GENERATED_SEED + count)
    with Bar("generating retained images", count, unit="images") as bar:
        drawn = draw_images(denoiser, MultiStep(steps), None, seeds, on_batch=bar.advance)
    images = (drawn * 255).round().byte()
    between = distances(images, forget)
    nearest = between.min(1).values
    copies = int((nearest < copy_distance(between)).sum())
    near = nearest < copy_distance(between, ALIKE_SHARE)
    if bool(near.all()):
        raise DataError(
            "every sample of the model is a copy of an image to forget: give retained images with "
            "--retain."
        )
    return Generated(images=images[~near], copies=copies, alike=int(near.sum()) - copies)
