"""Networks that a recipe trains on composed scenes: an autoencoder, and a detector of items."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from accelerate import Accelerator
from torch import Tensor, nn

from efface.data.images import to_model
from efface.data.randomness import derive_seed
from efface.errors import ConfigError
from efface.files import require_empty
from efface.zoo.build.fitting import fit, seeded, shuffled
from efface.zoo.build.scenes import Scenes, held_out_scenes, training_scenes
from efface.zoo.build.settings import (
    SIZE,
    AutoencoderSettings,
    BuildSettings,
    DetectorSettings,
    read_build_settings,
)

SEED = 0
AT_ONCE = 250  # images in one pass of the autoencoder or the detector
LATENT_CHANNELS = 4
SCALING_ROWS = 2000  # images at most whose latents give the scaling factor
DETECTOR_SIZE = 64  # pixels to the side that the detector's images are resized to


@dataclass(frozen=True, kw_only=True)
class Detected:
    """How a detector did on held-out scenes, over all kinds of items."""

    accuracy: float  # share of right answers, one per image and kind
    exact: float  # share of images with all kinds right
    images: int


def train_autoencoder(recipe: str | Path, out: str | Path, changes: Iterable[str] = ()) -> float:
    """Train the recipe's `AutoencoderKL` and save it; returns its error on held-out scenes.

    The error is a root mean square, of pixels from 0 to 1.
    """
    out, settings = Path(out), read_build_settings(recipe, changes)
    require_empty(out)
    scenes, held_out = _scenes(settings, "autoencoder", settings.autoencoder.batch_size)
    device = Accelerator().device
    with seeded(derive_seed(SEED, "autoencoder")):
        vae = _fitted_autoencoder(settings.autoencoder, scenes.images, device)
    vae.save_pretrained(out, safe_serialization=True)
    rebuilt = in_batches(held_out.images, lambda x: vae.decode(_means(vae, x)).sample, device)
    return float((rebuilt.clamp(-1, 1) - to_model(held_out.images)).square().mean().sqrt()) / 2


def _fitted_autoencoder(settings: AutoencoderSettings, images: Tensor, device: torch.device) -> Any:
    """Squared error plus `kl_weight` times the posterior's divergence from unit noise.

    Means over pixels and over latents (Rombach et al., 2022, appendix G, without its adversarial
    term). The scaling factor makes latents of training scenes vary by 1.
    """
    kind: Any = diffusers.AutoencoderKL  # annotated as if every tuple held one entry
    vae = kind(
        block_out_channels=settings.channels,
        down_block_types=("DownEncoderBlock2D",) * len(settings.channels),
        up_block_types=("UpDecoderBlock2D",) * len(settings.channels),
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=settings.norm_groups,
        sample_size=SIZE,
        mid_block_add_attention=False,
    ).to(device)
    rows = shuffled(len(images), settings.batch_size, settings.steps)

    def loss() -> Tensor:
        x = to_model(images[next(rows)].to(device))
        posterior = vae.encode(x).latent_dist
        rebuilt = vae.decode(posterior.sample()).sample
        divergence = posterior.kl().mean() / posterior.mean[0].numel()
        return (rebuilt - x).square().mean() + settings.kl_weight * divergence

    fit(vae, loss, settings.steps, settings.learning_rate, "training the autoencoder")
    spread = images[:: max(1, len(images) // SCALING_ROWS)]
    latents = in_batches(spread, lambda x: _means(vae, x), device)
    vae.register_to_config(scaling_factor=float(1 / latents.std()))
    return vae


def train_detector(recipe: str | Path, out: str | Path, changes: Iterable[str] = ()) -> Detected:
    """Train a classifier that says which kinds of items a scene shows, measure and save it.

    A `ResNetForImageClassification` of transformers with one sigmoid per kind, so that it plugs
    in wherever a detector does.
    """
    out, settings = Path(out), read_build_settings(recipe, changes)
    require_empty(out)
    scenes, held_out = _scenes(settings, "detector", settings.detector.batch_size)
    device = Accelerator().device
    with seeded(derive_seed(SEED, "detector")):
        network = _fitted_detector(settings.detector, settings.scenes.items, scenes, device)
    with torch.no_grad():
        parts = held_out.images.split(AT_ONCE)
        answers = [network(_prepared(part.to(device))).logits.cpu() > 0 for part in parts]
    right = torch.cat(answers) == held_out.items
    detected = Detected(
        accuracy=float(right.float().mean()),
        exact=float(right.all(1).float().mean()),
        images=len(held_out),
    )
    measured = {"held_out_accuracy": detected.accuracy, "held_out_exact": detected.exact}
    network.config.update(measured)
    network.save_pretrained(out, safe_serialization=True)
    text = json.dumps(PREPROCESSING, indent=2) + "\n"
    (out / "preprocessor_config.json").write_text(text, encoding="utf-8")
    return detected


def _fitted_detector(
    settings: DetectorSettings, names: tuple[str, ...], scenes: Scenes, device: torch.device
) -> Any:
    """Binary cross-entropy, mean over images and kinds."""
    config = transformers.ResNetConfig(
        num_channels=3,
        embedding_size=settings.widths[0],
        hidden_sizes=list(settings.widths),
        depths=[1] * len(settings.widths),
        layer_type="basic",
        id2label=dict(enumerate(names)),
        label2id={name: number for number, name in enumerate(names)},
        problem_type="multi_label_classification",
    )
    network: Any = transformers.ResNetForImageClassification(config)
    network.to(device)
    rows = shuffled(len(scenes), settings.batch_size, settings.steps)

    def loss() -> Tensor:
        batch = next(rows)
        logits = network(_prepared(scenes.images[batch].to(device))).logits
        shown = scenes.items[batch].to(device).float()
        return nn.functional.binary_cross_entropy_with_logits(logits, shown)

    fit(network, loss, settings.steps, settings.learning_rate, "training the detector")
    return network


@torch.no_grad()
def in_batches(
    images: Tensor, function: Callable[[Tensor], Tensor], device: torch.device
) -> Tensor:
    """A function of pixels (N, C, H, W) from -1 to 1, of `images` uint8; on the CPU."""
    parts = images.split(AT_ONCE)
    return torch.cat([function(to_model(part.to(device))).cpu() for part in parts])


def _scenes(settings: BuildSettings, section: str, batch_size: int) -> tuple[Scenes, Scenes]:
    """Scenes to train on and held-out ones; ConfigError for fewer than one batch."""
    if 0 < settings.scenes.images < batch_size:
        raise ConfigError(
            f"scenes.images is {settings.scenes.images}, less than one batch of {batch_size}: "
            f"raise it, or lower {section}.batch_size."
        )
    return training_scenes(settings), held_out_scenes(settings)


def _means(vae: Any, x: Tensor) -> Tensor:
    return vae.encode(x).latent_dist.mean


def _prepared(images: Tensor) -> Tensor:
    """What `PREPROCESSING` makes of pixels from 0 to 255."""
    pixels = nn.functional.interpolate(images.float() / 255, (DETECTOR_SIZE,) * 2, mode="bilinear")
    return pixels * 2 - 1


PREPROCESSING = {
    "image_processor_type": "ViTImageProcessor",
    "do_resize": True,
    "size": {"height": DETECTOR_SIZE, "width": DETECTOR_SIZE},
    "resample": 2,  # bilinear
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
