"""The parts of a text-to-image pipeline put together as one denoiser."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers

from efface.diffusion.codec import VAECodec
from efface.diffusion.model_folder import ModelInfo
from efface.diffusion.prediction import PREDICTION_KINDS
from efface.diffusion.quiet import quiet
from efface.diffusion.schedule import NoiseSchedule
from efface.diffusion.text.denoiser import TextDenoiser
from efface.diffusion.text.encoding import constant_rows
from efface.diffusion.text.families import TextFamily, tokenizer_of
from efface.diffusion.text.folder import check_latents, check_length
from efface.diffusion.text.prompts import PromptEncoder, Reader
from efface.errors import ModelError

# What a pipeline that only encodes prompts must not do.
QUIET = {"requires_safety_checker": False, "add_watermarker": False}


@dataclass(frozen=True, eq=False, kw_only=True)
class TextParts:
    """The loaded components of a pipeline; encoders and tokenizers by their subfolders."""

    network: Any
    scheduler: Any
    vae: Any
    encoders: Mapping[str, Any]
    tokenizers: Mapping[str, Any]


def build_text_denoiser(
    info: ModelInfo,
    parts: TextParts,
    size: int | None = None,
    encoded: PromptEncoder | None = None,
) -> TextDenoiser:
    """The denoiser of a text-to-image pipeline; `size` is the latents' height and width.

    `size` is for networks that do not name one (FLUX). With prompts that have been `encoded` no
    encoders are needed. Raises ModelError.
    """
    family = info.family
    assert family is not None
    shape = _sample_shape(info, parts, size)
    factor = 2 ** (len(parts.vae.config.block_out_channels) - 1)
    pixels = shape[1] * factor, shape[2] * factor
    kind, schedule = _read_schedule(parts.scheduler, family)
    if encoded is None:
        readers = [_reader(name, parts, family, info.folder) for name in parts.encoders]
        constants = constant_rows(parts.network, family, pixels)
        encoded = PromptEncoder(family, _encoding_pipeline(info, parts), readers, constants)
    return TextDenoiser(
        network=parts.network,
        schedule=schedule,
        kind=kind,
        sample_shape=shape,
        scheduler=parts.scheduler,
        codec=VAECodec(parts.vae.requires_grad_(False)),
        family=family,
        prompts=encoded,
        folder=info.folder,
        index=info.index,
    )


def build_beside(
    info: ModelInfo, network: Any, scheduler: Any, other: TextDenoiser
) -> TextDenoiser:
    """Another network of the same pipeline: VAE and text encoders of `other` serve it too."""
    kind, schedule = _read_schedule(scheduler, other.family)
    return replace(
        other,
        network=network,
        schedule=schedule,
        kind=kind,
        scheduler=scheduler,
        folder=info.folder,
        index=info.index,
    )


def _read_schedule(scheduler: Any, family: TextFamily) -> tuple[Any, NoiseSchedule]:
    """Kind of prediction and noise levels; the scheduler becomes what its pipeline makes of it."""
    if family.flow:
        return "flow", NoiseSchedule.from_flow_scheduler(scheduler)
    stock = dict(family.scheduler_options)
    scheduler.register_to_config(**{k: v for k, v in stock.items() if k in scheduler.config})
    kind = scheduler.config.prediction_type
    if kind not in PREDICTION_KINDS:
        raise ModelError(
            f"prediction type {kind!r} is unknown: allowed are {', '.join(PREDICTION_KINDS)}."
        )
    return kind, NoiseSchedule.from_scheduler(scheduler)


def _sample_shape(info: ModelInfo, parts: TextParts, size: int | None) -> tuple[int, int, int]:
    config, family = parts.network.config, info.family
    assert family is not None
    check_latents(info.source, family, config, parts.vae.config)
    channels = config.in_channels
    if family.default_size is not None:
        size = size or info.sample_size or family.default_size
        if size < 2 or size % 2:
            raise ModelError(f"latents of size {size} do not fit: give an even number.")
        channels, height, width = channels // 4, size, size
    else:
        own = config.sample_size
        height, width = (own, own) if isinstance(own, int) else own
        if size is not None and (size, size) != (height, width):
            raise ModelError(
                f"latents of size {size} were asked for, and {info.source} draws {height} x "
                f"{width}: leave the size out."
            )
    return channels, height, width


def _reader(name: str, parts: TextParts, family: TextFamily, folder: Path) -> Reader:
    tokenizer, encoder = parts.tokenizers[tokenizer_of(name)], parts.encoders[name]
    if family.longest is not None and encoder.config.model_type == "t5":
        return Reader(name, tokenizer, family.longest)
    longest = tokenizer.model_max_length
    positions = encoder.config.to_dict().get("max_position_embeddings", longest)
    check_length(folder / tokenizer_of(name), longest, positions)
    return Reader(name, tokenizer, longest)


def _encoding_pipeline(info: ModelInfo, parts: TextParts) -> Any:
    """The stock pipeline with its text encoders and nothing else."""
    with quiet():  # of image processors that no part here is given
        kind = getattr(diffusers, info.index["_class_name"])
    options: dict[str, Any] = {}
    for name, parameter in inspect.signature(kind.__init__).parameters.items():
        if name in QUIET:
            options[name] = QUIET[name]
        elif name in info.index and not isinstance(info.index[name], list):
            options[name] = info.index[name]
        elif parameter.default is inspect.Parameter.empty and name != "self":
            options[name] = None
    for encoder in parts.encoders.values():
        encoder.requires_grad_(False)
    pipeline = kind(**(options | dict(parts.encoders) | dict(parts.tokenizers)))
    if info.family is not None and len(parts.encoders) < len(info.family.encoders):
        # Zeros stand for what a missing encoder says, as wide as the network takes them.
        pipeline.transformer = SimpleNamespace(config=parts.network.config)
    return pipeline
