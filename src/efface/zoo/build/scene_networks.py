"""Networks that a recipe trains on composed scenes: an autoencoder, and a detector of items."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from accelerate import Accelerator
from torch import Tensor, nn

from efface.settings.reading import Settings, read_settings
from efface.data.images import load_images
from efface.data.randomness import derive_seed
from efface.zoo.build.scenes import Scenes, compose
from efface.errors import ConfigError, DataError
from efface.zoo.build.fitting import fit

HELD_OUT = 4000  # scenes at most that autoencoder and detector are measured on
AT_ONCE = 250  # pictures in one pass of the autoencoder or the detector


@dataclass(frozen=True, kw_only=True)
class Detected:
    """How a detector did on held-out scenes, over all kinds of items."""

    accuracy: float  # share of right answers, one per picture and kind
    exact: float  # share of pictures with all kinds right
    pictures: int


def training_scenes(settings: Settings, held_out: bool = False) -> Scenes:
    """The scenes of a recipe, or others of images that it holds out; ConfigError if it has none.

    Held-out scenes repeat nothing.
    """
    data, config = settings.data, settings.scenes
    if not config.pictures:
        raise ConfigError("the recipe composes no scenes: set scenes.pictures above 0.")
    if not held_out:
        return compose(load_images(data.source, "train", data.size), config)
    if data.held_out is None:
        raise ConfigError("scenes are measured on held-out images: set data.held_out.")
    fresh = replace(config, pictures=min(HELD_OUT, config.pictures), memorised=())
    return compose(load_images(data.held_out, "test", data.size), fresh)


def make_autoencoder(recipe: str | Path, out: str | Path, changes: Iterable[str] = ()) -> float:
    """Train the recipe's `AutoencoderKL` and save it; returns its error on held-out scenes.

    Squared error plus `kl_weight` times the posterior's divergence from unit noise, means over
    pixels and over latents (Rombach et al., 2022, appendix G, without its adversarial term). The
    scaling factor makes latents of training scenes vary by 1. The error is a root mean square, of
    pixels from 0 to 1.
    """
    out, settings = _new_folder(out), read_settings("denoising", Path(recipe), changes)
    config = settings.autoencoder
    scenes = training_scenes(settings)
    images = scenes.images
    torch.manual_seed(derive_seed(config.seed, "autoencoder"))
    device = Accelerator().device
    kind: Any = diffusers.AutoencoderKL  # annotated as if every tuple held one entry
    vae = kind(
        block_out_channels=config.channels,
        down_block_types=("DownEncoderBlock2D",) * len(config.channels),
        up_block_types=("UpDecoderBlock2D",) * len(config.channels),
        layers_per_block=config.layers,
        latent_channels=config.latent_channels,
        norm_num_groups=config.norm_groups,
        sample_size=images.shape[-1],
        mid_block_add_attention=False,
    ).to(device)
    rows = _shuffled(len(images), config.batch_size, config.steps)

    def loss(step: int) -> Tensor:
        del step
        x = _scaled(images[next(rows)].to(device))
        posterior = vae.encode(x).latent_dist
        rebuilt = vae.decode(posterior.sample()).sample
        divergence = posterior.kl().mean() / posterior.mean[0].numel()
        return (rebuilt - x).square().mean() + config.kl_weight * divergence

    fit(vae, loss, config.steps, config.learning_rate, "training the autoencoder")
    latents = in_batches(images[:: max(1, len(images) // 2000)], lambda x: _means(vae, x), device)
    vae.register_to_config(scaling_factor=float(1 / latents.std()))
    vae.save_pretrained(out, safe_serialization=True)
    held_out = training_scenes(settings, held_out=True).images
    rebuilt = in_batches(held_out, lambda x: vae.decode(_means(vae, x)).sample, device)
    return float((rebuilt.clamp(-1, 1) - _scaled(held_out)).square().mean().sqrt()) / 2


def make_detector(recipe: str | Path, out: str | Path, changes: Iterable[str] = ()) -> Detected:
    """Train a classifier that says which kinds of items a scene shows, measure and save it.

    A `ResNetForImageClassification` of transformers with one sigmoid per kind, so that it plugs
    in wherever a detector does. Binary cross-entropy, mean over pictures and kinds.
    """
    out, settings = _new_folder(out), read_settings("denoising", Path(recipe), changes)
    config, scenes = settings.detector, training_scenes(settings)
    held_out = training_scenes(settings, held_out=True)
    torch.manual_seed(derive_seed(config.seed, "detector"))
    device = Accelerator().device
    names = settings.scenes.items
    network: Any = transformers.ResNetForImageClassification(
        transformers.ResNetConfig(
            num_channels=3,
            embedding_size=config.widths[0],
            hidden_sizes=list(config.widths),
            depths=[1] * len(config.widths),
            layer_type="basic",
            id2label=dict(enumerate(names)),
            label2id={name: number for number, name in enumerate(names)},
            problem_type="multi_label_classification",
        )
    ).to(device)
    rows = _shuffled(len(scenes), config.batch_size, config.steps)

    def loss(step: int) -> Tensor:
        del step
        picked = next(rows)
        logits = network(_seen(scenes.images[picked].to(device), config.size)).logits
        shown = scenes.items[picked].to(device).float()
        return nn.functional.binary_cross_entropy_with_logits(logits, shown)

    fit(network, loss, config.steps, config.learning_rate, "training the detector")
    seen = [
        network(_seen(part.to(device), config.size)).logits.detach().cpu() > 0
        for part in held_out.images.split(AT_ONCE)
    ]
    right = torch.cat(seen) == held_out.items
    found = Detected(
        accuracy=float(right.float().mean()),
        exact=float(right.all(1).float().mean()),
        pictures=len(held_out),
    )
    network.config.update({"held_out_accuracy": found.accuracy, "held_out_exact": found.exact})
    network.save_pretrained(out, safe_serialization=True)
    (out / "preprocessor_config.json").write_text(
        json.dumps(_preprocessing(config.size), indent=2) + "\n", encoding="utf-8"
    )
    return found


@torch.no_grad()
def in_batches(images: Tensor, function: Any, device: torch.device) -> Tensor:
    """A function of pixels (N, C, H, W) from -1 to 1, of `images` uint8; on the CPU."""
    parts = images.split(AT_ONCE)
    return torch.cat([function(_scaled(part.to(device))).cpu() for part in parts])


def _new_folder(out: str | Path) -> Path:
    folder = Path(out)
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} exists: nothing there was touched. Give another folder.")
    return folder


def _shuffled(count: int, rows: int, steps: int) -> Iterator[Tensor]:
    """`steps` batches of row numbers, all of `count` once per epoch in a new order."""
    if count < rows:
        raise DataError(
            f"{count} scenes are fewer than one batch of {rows}: set scenes.pictures higher."
        )
    per_epoch = count // rows
    for step in range(steps):
        if step % per_epoch == 0:
            order = torch.randperm(count)
        start = step % per_epoch * rows
        yield order[start : start + rows]


def _scaled(images: Tensor) -> Tensor:
    """Pixels from 0 to 255 -> from -1 to 1."""
    return images.float() / 127.5 - 1


def _means(vae: Any, x: Tensor) -> Tensor:
    return vae.encode(x).latent_dist.mean


def _seen(images: Tensor, size: int) -> Tensor:
    """What the saved preprocessing makes of pixels from 0 to 255."""
    pixels = nn.functional.interpolate(images.float() / 255, (size, size), mode="bilinear")
    return pixels * 2 - 1


def _preprocessing(size: int) -> dict[str, Any]:
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": size, "width": size},
        "resample": 2,  # bilinear
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
