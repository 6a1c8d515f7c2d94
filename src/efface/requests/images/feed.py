"""Requests to forget pictures: what is forgotten, what is kept, and what the loop is fed with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console
from torch import Tensor

from efface.data.bank import ImageBank
from efface.data.images import ImageSet, load_images
from efface.data.randomness import derive_seed
from efface.data.source import PairSource
from efface.data.split import ALIKE_SHARE, copy_distance, distances, pixel_hash, split_images
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.sampling import MultiStep, draw_images
from efface.errors import ConfigError, DataError
from efface.metrics.membership_gap import denoising_losses, loss_timesteps
from efface.metrics.nll import LikelihoodSettings, nll
from efface.progress import Bar
from efface.requests.base import ForgetImages
from efface.settings.reading import ImagesConfig, Settings
from efface.training.guard import make_guard
from efface.training.networks import make_networks
from efface.training.stopping import Measure, UnseenStopper
from efface.training.trainer import Trainer

GENERATED_SEED = 9_000_000  # away from the seeds of training and evaluation
STOP_SEED = 8_000_000
NOT_KNOWN = (
    "efface: the model knows these pictures no better than ones it has never seen, so there may be "
    "nothing to forget: ask `efface triage` first."
)
STOP_DRAWS = 4  # noises per level
STOP_LIKELIHOOD = LikelihoodSettings(steps=25, dequantise=True)


@dataclass(frozen=True, eq=False, kw_only=True)
class Pictures:
    """What was read from disk: the pictures to forget, and those beside them."""

    forget: ImageSet
    retain: ImageSet | None  # None: the model draws them
    unseen: ImageSet | None
    notes: dict[str, int]  # duplicates found, for the record

    def complete(self, request: ForgetImages) -> ForgetImages:
        """The request with the names and hashes of its pictures."""
        hashes = tuple(pixel_hash(image) for image in self.forget.images)
        return request.model_copy(update={"names": self.forget.names, "hashes": hashes})


def read_pictures(
    request: ForgetImages, shape: tuple[int, int, int], config: ImagesConfig
) -> Pictures:
    """Read and check all images of a request; DataError for what cannot be used."""
    forget = read_images(request.images, shape, config)
    unseen = None
    if request.unseen is not None:
        unseen = read_images(request.unseen, shape, config, "test")
    if request.retain == "generate":
        return Pictures(forget=forget, retain=None, unseen=unseen, notes={})
    split = split_images(forget, read_images(request.retain, shape, config), config.near_duplicate)
    notes = {"exact_duplicates": split.exact, "near_duplicates": split.near}
    return Pictures(forget=split.forget, retain=split.retain, unseen=unseen, notes=notes)


def read_images(
    source: str, shape: tuple[int, int, int], config: ImagesConfig, split: str = "train"
) -> ImageSet:
    """Images of a model's `shape` (C, H, W); resized and made grey or RGB only when asked to."""
    channels, size, _ = shape
    images = load_images(source, split, size * config.mean_pool if config.resize else None)
    images = images.mean_pooled(config.mean_pool)
    found = tuple(images.images.shape[1:])
    if config.resize and found[0] != channels:
        images = _recoloured(images, channels)
    elif found != shape:
        raise DataError(
            f"{source} holds images of shape {found} (channels, height, width) and the model draws "
            f"{shape}: convert them, or add --set images.resize=true."
        )
    names = images.names or tuple(f"image {i}" for i in range(len(images)))
    return ImageSet(images=images.images, labels=images.labels, names=names)


def _recoloured(images: ImageSet, channels: int) -> ImageSet:
    pixels = images.images
    if channels == 1:
        weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)  # ITU-R BT.601
        pixels = (pixels.float() * weights).sum(1, keepdim=True).round().byte()
    else:
        pixels = pixels.expand(-1, channels, -1, -1).contiguous()
    return ImageSet(images=pixels, labels=images.labels, names=images.names)


@dataclass(frozen=True, eq=False, kw_only=True)
class Generated:
    """Retained images that the model drew itself, cleaned of copies and of what is like them."""

    images: Tensor  # (N, C, H, W) uint8
    copies: int  # samples that were copies of a picture to forget
    alike: int  # and samples that were not, but too like one to teach the model what stays


def generate_retained(denoiser: Denoiser, forget: Tensor, config: ImagesConfig) -> Generated:
    """Draw retained images and drop everything too close to the pictures (K, C, H, W) uint8.

    A model that has memorised a picture draws distorted ones too, which lie between its copies and
    all else; kept, they hold on to the picture.
    """
    seeds = range(GENERATED_SEED, GENERATED_SEED + config.generate)
    with Bar("drawing retained images", config.generate, unit="images") as bar:
        sampler = MultiStep(config.generate_steps)
        drawn = draw_images(denoiser, sampler, None, seeds, on_batch=bar.advance)
    images = (drawn * 255).round().byte()
    between = distances(images, forget)
    nearest = between.min(1).values
    copies = int((nearest < copy_distance(between)).sum())
    near = nearest < copy_distance(between, ALIKE_SHARE)
    if bool(near.all()):
        raise DataError(
            "every sample that the model drew is a copy of a picture to forget: give retained "
            "images with --retain."
        )
    return Generated(images=images[~near], copies=copies, alike=int(near.sum()) - copies)


def make_source(
    denoiser: Denoiser, request: ForgetImages, pictures: Pictures, settings: Settings
) -> tuple[PairSource, dict[str, Any]]:
    """What the loop is fed with, and what to note of it in the record."""
    method, config = settings.method, settings.train
    notes: dict[str, Any] = dict(pictures.notes)
    generated = None
    if pictures.retain is None or (method.asks_prior and not _prior(request, pictures)):
        generated = generate_retained(denoiser, pictures.forget.images, settings.images)
        notes["generated_copies_dropped"] = generated.copies
        notes["generated_alike_dropped"] = generated.alike
    if pictures.retain is None:
        assert generated is not None
        retain = generated.images
        notes["generated"] = len(retain)
    else:
        retain = pictures.retain.images
    prior = _prior(request, pictures)
    if prior is None and generated is not None:
        # Laplace's rule: a share of 0 would leave nothing to subtract.
        prior = (generated.copies + 1) / (settings.images.generate + 2)
    if prior is None:  # of no account to a method that does not ask for it
        prior = len(pictures.forget) / (len(pictures.forget) + len(retain))
    source = PairSource(
        bank=ImageBank(
            to_model(retain).to(denoiser.device),
            to_model(pictures.forget.images).to(denoiser.device),
            prior,
        ),
        retain_rows=config.batch_size,
        forget_rows=round(method.forget_share * config.batch_size),
        seed=derive_seed(config.seed, "images"),
    )
    return source, notes | {"prior": prior}


def _prior(request: ForgetImages, pictures: Pictures) -> float | None:
    """The share of the pictures in the training data: given, or counted where copies were found.

    Retained images without any copy are not what the model was trained on, and tell nothing.
    """
    if request.prior is not None or pictures.retain is None:
        return request.prior
    copies = len(pictures.forget) + pictures.notes["exact_duplicates"]
    found = pictures.notes["exact_duplicates"] + pictures.notes["near_duplicates"]
    return copies / (copies + len(pictures.retain)) if found else None


def image_trainer(
    denoiser: Denoiser,
    request: ForgetImages,
    pictures: Pictures,
    settings: Settings,
    out: Path,
    accelerator: Accelerator,
) -> tuple[Trainer, dict[str, Any]]:
    """The trainer of a request, and what to note in its record."""
    method, config = settings.method, settings.train
    denoiser = denoiser.to(accelerator.device)
    source, notes = make_source(denoiser, request, pictures, settings)
    networks = make_networks(method, denoiser, config)
    rows = source.forget_rows
    trainer = Trainer(method, networks, source, config, out, rows, accelerator)
    trainer.guard = make_guard(method, denoiser, None, config)
    if pictures.unseen is not None:
        unseen = to_model(pictures.unseen.images).to(accelerator.device)
        measure = STOP_MEASURES[config.stop_by]
        trainer.stopper = UnseenStopper(measure, source.bank.forget, unseen)
        known = trainer.stopper.check(denoiser) is None
        notes["known_better_than_unseen"] = known
        if not known and accelerator.is_main_process:
            Console(stderr=True).print(NOT_KNOWN, soft_wrap=True)
    return trainer, notes


def _mean_loss(student: Denoiser, images: Tensor) -> float:
    """Mean denoising loss of images in model space, the same noise for all of them."""
    at = loss_timesteps(student.schedule.num_timesteps)
    return float(denoising_losses(student, images, at, STOP_DRAWS, STOP_SEED, quiet=True).mean())


def _mean_bits(student: Denoiser, images: Tensor) -> float:
    """Mean bits per dimension of images in model space, the same noise at every check."""
    return float(nll(student, images, STOP_LIKELIHOOD, STOP_SEED, quiet=True).bits_per_dim.mean())


STOP_MEASURES = {
    "loss": Measure("loss", _mean_loss, pictures=64),
    "likelihood": Measure("bits per dimension", _mean_bits, pictures=16),
}


def to_model(images: Tensor) -> Tensor:
    """Pixels (N, C, H, W) uint8 to model space, -1 to 1."""
    return images.float() / 127.5 - 1


def check_settings(settings: Settings, request: ForgetImages) -> None:
    """Raise ConfigError for a method that does not work on pictures, or a stop without a goal."""
    if settings.train.stop_every and request.unseen is None:
        raise ConfigError(
            "train.stop_every stops at the loss of pictures that were never seen: give some with "
            "--unseen, or set train.stop_every=0."
        )
    if "forget_images" not in settings.method.needs:
        raise ConfigError(
            f"method {settings.method_name!r} does not forget pictures: use one that does, as siss."
        )
