"""What a run that forgets images is fed with, and when it may stop."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from efface.data.batch import ImageBank
from efface.data.images import to_model
from efface.data.randomness import derive_seed
from efface.data.source import PairSource
from efface.data.split import ALIKE_SHARE, Split, copy_distance, distances
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.sampling import MultiStep, draw_images
from efface.errors import DataError
from efface.metrics.membership_gap import denoising_losses, loss_timesteps
from efface.metrics.nll import LikelihoodSettings, nll
from efface.progress import Bar
from efface.requests.images.settings import ImageSettings
from efface.settings.base import Settings
from efface.training.guard import Measure

GENERATED_SEED = 9_000_000  # away from the seeds of training and evaluation
STOP_SEED = 8_000_000
STOP_DRAWS = 4  # noises per level
STOP_LIKELIHOOD = LikelihoodSettings(steps=25, dequantise=True)


def pair_source(
    denoiser: Denoiser, split: Split, prior: float | None, settings: Settings
) -> tuple[PairSource, dict[str, Any]]:
    """Pairs of retained images and images to forget, and what to note of them in the record.

    Retained images that are not given are generated; so is the share of the images in the training
    data estimated, for a method that needs it.
    """
    method, config, own = settings.method, settings.train, settings.of(ImageSettings)
    forget = split.forget.images
    notes: dict[str, Any] = {}
    if split.retain is not None:
        notes = {"exact_duplicates": split.exact, "near_duplicates": split.near}
    if prior is None:
        prior = counted_prior(split)
    retain = None if split.retain is None else split.retain.images
    if retain is None or (method.asks_prior and not prior):
        steps = settings.evaluate.baseline_steps
        generated = generate_retained(denoiser, forget, own.generate, steps)
        notes["generated_copies_dropped"] = generated.copies
        notes["generated_alike_dropped"] = generated.alike
        if retain is None:
            retain = generated.images
            notes["generated"] = len(retain)
        if prior is None:
            # Laplace's rule: a share of 0 would leave nothing to subtract.
            prior = (generated.copies + 1) / (own.generate + 2)
    if prior is None:  # of no account to a method that does not ask for it
        prior = len(forget) / (len(forget) + len(retain))
    if own.mirrored:
        forget, retain = (torch.cat([side, side.flip(-1)]) for side in (forget, retain))
    source = PairSource(
        bank=ImageBank(
            to_model(retain).to(denoiser.device), to_model(forget).to(denoiser.device), prior
        ),
        retain_rows=config.batch_size,
        forget_rows=round(method.forget_share * config.batch_size),
        seed=derive_seed(config.seed, "images"),
    )
    return source, notes | {"prior": prior}


def counted_prior(split: Split) -> float | None:
    """The share of the images in the training data, where copies were found among retained ones.

    Retained images without any copy are not what the model was trained on, and tell nothing.
    """
    if split.retain is None or not split.exact + split.near:
        return None
    copies = len(split.forget) + split.exact
    return copies / (copies + len(split.retain))


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
        drawn = draw_images(
            denoiser, MultiStep.within(denoiser, steps), None, seeds, on_batch=bar.advance
        )
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


def _mean_loss(student: Denoiser, images: Tensor) -> float:
    """Mean denoising loss of images in model space, the same noise for all of them."""
    at = loss_timesteps(student.schedule.num_timesteps)
    return float(denoising_losses(student, images, at, STOP_DRAWS, STOP_SEED, quiet=True).mean())


def _mean_bits(student: Denoiser, images: Tensor) -> float:
    """Mean bits per dimension of images in model space, the same noise at every check."""
    return float(nll(student, images, STOP_LIKELIHOOD, STOP_SEED, quiet=True).mean())


STOP_MEASURES = {
    "loss": Measure("loss", _mean_loss, images=64),
    "likelihood": Measure("bits per dimension", _mean_bits, images=16),
}
