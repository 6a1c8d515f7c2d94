"""Tiny pipelines with random weights, for trying commands.

    python -m efface.zoo.build.tiny KIND OUT

They generate noise: a trained model of the same kind takes their place.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import diffusers
import torch
import transformers
import typer

from efface.data.images import load_images
from efface.diffusion.loading import save_pipeline
from efface.diffusion.quiet import quiet
from efface.errors import RequestError
from efface.files import require_empty
from efface.zoo.build.images import new_denoiser
from efface.zoo.build.settings import NetworkSettings

CHARACTERS = string.ascii_lowercase + string.digits + ".,'"
TOKENS = 77  # of a prompt, a character each


def build_pixel_model(out: Path, conditional: bool) -> None:
    """A U-Net on 8x8 pixels, with ten classes and a null label or without conditions."""
    settings = NetworkSettings(channels=(8, 16), norm_groups=4)
    save_pipeline(new_denoiser(settings, load_images("digits", "test"), conditional), out)


def build_stable_diffusion(out: Path) -> None:
    """A `StableDiffusionPipeline` of 16x16 pixels whose tokenizer reads single characters."""
    parts: dict[str, Any] = {
        "vae": _vae(),
        "text_encoder": _text_encoder(),
        "tokenizer": _tokenizer(),
        "unet": _unet(),
        "scheduler": diffusers.DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
            clip_sample=False, set_alpha_to_one=False, steps_offset=1,
        ),
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }  # fmt: skip
    diffusers.StableDiffusionPipeline(**parts).save_pretrained(out)


KINDS: Mapping[str, Callable[[Path], None]] = {
    "class-conditional": lambda out: build_pixel_model(out, conditional=True),
    "unconditional": lambda out: build_pixel_model(out, conditional=False),
    "stable-diffusion": build_stable_diffusion,
}


def build(kind: str, out: str | Path) -> Path:
    """Write a tiny pipeline into the new folder `out`; the same kind gives the same weights."""
    if kind not in KINDS:
        raise RequestError(f"kind {kind!r} is unknown: there is {', '.join(KINDS)}.")
    require_empty(Path(out))
    with torch.random.fork_rng(devices=[]), quiet("diffusers"), quiet():
        torch.manual_seed(0)
        KINDS[kind](Path(out))
    return Path(out)


def _tokenizer() -> Any:
    tokens = [c + end for c in CHARACTERS for end in ("", "</w>")]
    vocabulary = {token: i for i, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}
    return transformers.CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=TOKENS)


def _text_encoder() -> Any:
    size = len(_tokenizer())
    config = transformers.CLIPTextConfig(
        vocab_size=size, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=TOKENS, projection_dim=16,
        bos_token_id=size - 2, eos_token_id=size - 1, pad_token_id=size - 1,
    )  # fmt: skip
    return transformers.CLIPTextModel(config).eval()


def _vae() -> Any:
    settings: dict[str, Any] = {
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "block_out_channels": (8, 8), "norm_num_groups": 4,
        "latent_channels": 4, "sample_size": 16, "scaling_factor": 0.5,
    }  # fmt: skip
    return diffusers.AutoencoderKL(**settings).eval()


def _unet() -> Any:
    settings: dict[str, Any] = {
        "sample_size": 8, "block_out_channels": (8, 16), "layers_per_block": 1,
        "norm_num_groups": 4, "attention_head_dim": 4, "cross_attention_dim": 16,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    }  # fmt: skip
    return diffusers.UNet2DConditionModel(**settings).eval()


def main(
    kind: Annotated[str, typer.Argument(help=f"One of {', '.join(KINDS)}.")],
    out: Annotated[Path, typer.Argument(help="A new folder.")],
) -> None:
    """Write a tiny diffusers pipeline with random weights, for trying commands."""
    typer.echo(f"tiny {kind} pipeline written to {build(kind, out)}")


if __name__ == "__main__":
    typer.run(main)
