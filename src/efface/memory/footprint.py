"""What a network takes in memory, from its configuration alone: nothing is loaded or computed."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from torch import Tensor, nn

from efface.diffusion.adapters import SharedNetwork
from efface.diffusion.codec import MOST_PIXELS, VAECodec
from efface.diffusion.model_folder import ModelInfo
from efface.diffusion.sampling import rows_of
from efface.diffusion.text.encoding import constant_rows
from efface.diffusion.text.families import FAMILIES, UNET_ATTENTION, TextFamily, tokenizer_of
from efface.diffusion.text.networks import CALL
from efface.errors import ModelError
from efface.memory.live import Activations, Device, Kept, Kernels, Live, tensors_of

CLIP_TOKENS = 77
T5 = "T5EncoderModel"


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Bytes of a network, and what a pass leaves behind."""

    network: int  # all tensors, in the precision they are held in
    trained: int  # of those parameters that are trained, in float32
    activations: Activations
    activations_frozen: Activations  # where a gradient passes through to what comes before
    condition: int  # one row of what the network is told, in float32
    shape: tuple[int, int, int]  # (C, H, W) of a sample in model space


@dataclass(frozen=True, kw_only=True)
class Holding:
    """How a network is to be held."""

    lora_rank: int | None = None
    bf16: bool = False
    checkpointing: bool = False
    autocast: Device | None = None  # the kind of device that trains in mixed precision


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """Bytes of what draws `rows` at once."""

    rows: int
    network: int
    condition: int  # one row of what the network is told
    picture: int
    passing: int  # comes and goes while all rows pass the network
    decoding: int  # and while they become pictures


@dataclass(frozen=True)
class _Network:
    """What its configuration says of a network."""

    kind: str  # its class in diffusers
    config: str
    family: str | None
    shape: tuple[int, int, int]
    clip_tokens: int

    def build(self, dtype: torch.dtype) -> Any:
        network = getattr(diffusers, self.kind).from_config(json.loads(self.config)).eval()
        nn.Module.to(network, dtype)  # diffusers' own warns
        return network

    def inputs(self, network: Any) -> dict[str, Tensor]:
        """One row of what the network is told beside the sample and the timestep."""
        return _inputs(network, FAMILIES.get(self.family or ""), self.shape, self.clip_tokens)

    def call(self, network: nn.Module, x: Tensor, inputs: dict[str, Tensor]) -> Any:
        t = torch.zeros(len(x))
        if self.family is not None:
            return CALL[self.family](network, x, t, inputs)
        return network(x, t.long(), **inputs, return_dict=False)


def network_footprint(info: ModelInfo, holding: Holding) -> Footprint:
    """The network's own; ConfigError where a LoRA is asked for and finds nothing to change."""
    with _building(info.folder / info.component):
        return _footprint(_network(info), holding)


def latent_shape(info: ModelInfo) -> tuple[int, int, int]:
    """(C, H, W) of a sample in model space, before anything is loaded."""
    with _building(info.folder / info.component):
        return _network(info).shape


def drawing_footprint(info: ModelInfo, bf16: bool, rows: int, guided: bool) -> Drawing:
    """What draws `rows` samples, or as many of them as are drawn at once."""
    with _building(info.folder / info.component):
        network = _network(info)
        rows = rows_of(network.shape, rows)
        drawing = _drawing(network, bf16, rows, guided)
    if not info.vae:
        return drawing
    with _building(info.folder / "vae") as folder:
        config = (folder / "config.json").read_text("utf-8")
        picture, decoding = _decoding(config, network.shape, rows)
    return replace(drawing, picture=picture, decoding=decoding)


def parts_footprint(info: ModelInfo) -> tuple[int, int]:
    """Bytes of the VAE and of all text encoders, in float32."""
    sizes = []
    for name in (*(("vae",) if info.vae else ()), *info.encoders):
        with _building(info.folder / name) as folder:
            kind = "AutoencoderKL" if name == "vae" else info.index[name][1]
            sizes.append(_part(kind, (folder / "config.json").read_text("utf-8")))
    vae = sizes.pop(0) if info.vae else 0
    return vae, sum(sizes)


@contextlib.contextmanager
def _building(folder: Path) -> Iterator[Path]:
    """Modules are made without memory; ModelError for a configuration that makes none."""
    try:
        with torch.device("meta"):
            yield folder
    except (OSError, ValueError, RuntimeError, TypeError, LookupError, AttributeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"{folder} could not be loaded: {reason}") from error


def sample_shape(info: ModelInfo, config: dict[str, Any]) -> tuple[int, int, int]:
    """(C, H, W) in model space, from the network's configuration."""
    channels = config["in_channels"]
    if info.family is not None and info.family.default_size is not None:
        size = info.sample_size or info.family.default_size
        return channels // 4, size, size
    size = config["sample_size"]
    height, width = (size, size) if isinstance(size, int) else size
    return channels, height, width


def _network(info: ModelInfo) -> _Network:
    config = json.loads((info.folder / info.component / "config.json").read_text("utf-8"))
    clips = [encoder for encoder in info.encoders if info.index[encoder][1] != T5]
    longest = [_longest(info.folder / tokenizer_of(encoder)) for encoder in clips]
    return _Network(
        info.network_class,
        json.dumps(config),
        None if info.family is None else info.family.name,
        sample_shape(info, config),
        max(longest, default=CLIP_TOKENS),
    )


@functools.lru_cache(maxsize=32)
def _footprint(described: _Network, holding: Holding) -> Footprint:
    network = described.build(torch.bfloat16 if holding.bf16 else torch.float32)
    size = _size(network)
    inputs = described.inputs(network)
    trained: nn.Module = network
    if holding.lora_rank is not None:
        family = described.family
        targets = UNET_ATTENTION if family is None else FAMILIES[family].attention
        trained = SharedNetwork(network).adapted(targets, holding.lora_rank, 1.0, 0)
        network = SharedNetwork(network)  # which casts what it is given
    trained.requires_grad_(True)
    activations = _activations(described, trained, inputs, holding)
    network.requires_grad_(False)
    return Footprint(
        network=size,
        trained=sum(4 * p.numel() for p in trained.parameters()),
        activations=activations,
        activations_frozen=_activations(described, network, inputs, holding),
        condition=sum(row.nbytes for row in inputs.values()),
        shape=described.shape,
    )


@functools.lru_cache(maxsize=32)
def _drawing(described: _Network, bf16: bool, rows: int, guided: bool) -> Drawing:
    """Without a VAE: samples are pictures."""
    network = described.build(torch.bfloat16 if bf16 else torch.float32)
    size, inputs = _size(network), described.inputs(network)
    if bf16:
        network = SharedNetwork(network)
    asked = {name: torch.cat([row] * rows) for name, row in inputs.items()}
    passing = Live([*tensors_of(network), *asked.values()])
    with torch.no_grad(), Kernels(), passing:
        x = torch.zeros(rows, *described.shape)
        if guided:
            both = {name: torch.cat([part, part]) for name, part in asked.items()}
            described.call(network, x.repeat(2, 1, 1, 1), both)
        else:
            described.call(network, x, asked)
    return Drawing(
        rows=rows,
        network=size,
        condition=sum(row.nbytes for row in inputs.values()),
        picture=x[0].nbytes,
        passing=passing.more,
        decoding=2 * x.nbytes,
    )


@functools.lru_cache(maxsize=32)
def _decoding(config: str, shape: tuple[int, int, int], rows: int) -> tuple[int, int]:
    """Bytes of one picture, and of what comes and goes while a VAE makes `rows`, part by part."""
    vae: Any = diffusers.AutoencoderKL
    codec = VAECodec(vae.from_config(json.loads(config)).eval())
    with Kernels():
        picture = codec.decode(torch.zeros(1, *shape))
        part = min(rows, max(1, MOST_PIXELS // picture[0, 0].numel()))
        with Live(tensors_of(codec.vae)) as live:
            codec.decode(torch.zeros(part, *shape))
    # All of them are there twice when they are joined.
    size = picture.nbytes
    return size, max(live.more + (rows - part) * size, 2 * rows * size)


@functools.lru_cache(maxsize=32)
def _part(kind: str, config: str) -> int:
    """Bytes of a VAE or of a text encoder."""
    if kind == "AutoencoderKL":
        vae: Any = diffusers.AutoencoderKL
        return _size(vae.from_config(json.loads(config)))
    encoder: Any = getattr(transformers, kind)
    return _size(encoder(encoder.config_class.from_dict(json.loads(config))))


def _tree(network: Any) -> Any:
    return network.tree if isinstance(network, SharedNetwork) else network


def _inputs(
    network: Any, family: TextFamily | None, shape: tuple[int, int, int], clip_tokens: int
) -> dict[str, Tensor]:
    """One row of each."""
    config = network.config
    if family is None:
        conditional = config.get("num_class_embeds") or config.get("num_embeds_ada_norm")
        return {"class_labels": torch.zeros(1, dtype=torch.long)} if conditional else {}
    tokens = clip_tokens if family.longest is None else family.longest
    if family.name == "sd3":
        tokens += clip_tokens
    widths = ("caption_channels", "joint_attention_dim", "cross_attention_dim")
    width = next(config[name] for name in widths if config.get(name) is not None)
    width = width if isinstance(width, int) else max(width)
    rows = {"encoder_hidden_states": torch.zeros(1, tokens, width)}
    if family.name == "sdxl":
        pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
        rows["text_embeds"] = torch.zeros(1, pooled)
    if config.get("pooled_projection_dim") is not None:
        rows["pooled_projections"] = torch.zeros(1, config.pooled_projection_dim)
    if family.name.startswith("pixart"):
        rows["encoder_attention_mask"] = torch.ones(1, tokens)
    constants = constant_rows(network, family, (8 * shape[1], 8 * shape[2]))
    return rows | {name: row[None] for name, row in constants.items()}


def _activations(
    described: _Network, network: nn.Module, inputs: dict[str, Tensor], holding: Holding
) -> Activations:
    """What one pass of one row keeps, and the largest gradients in passing.

    With checkpointing, a block keeps its inputs alone, and the largest one is passed again.
    """
    kernels = Kernels(holding.autocast)
    kept = Kept(network, kernels)
    _tree(network).enable_gradient_checkpointing(kept.block)
    x = torch.zeros(1, *described.shape, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(kept.add, lambda tensor: tensor), kernels:
        described.call(network, x, inputs)
    return kept.checkpointed() if holding.checkpointing else kept.whole()


def _size(module: nn.Module) -> int:
    return sum(t.nbytes for t in (*module.parameters(), *module.buffers()))


def _longest(folder: Path) -> int:
    """Tokens of a tokenizer; what T5 reads is set by the family instead."""
    longest = None
    with contextlib.suppress(OSError, ValueError, AttributeError):  # loading it says what is wrong
        content = (folder / "tokenizer_config.json").read_text("utf-8")
        longest = json.loads(content).get("model_max_length")
    return longest if isinstance(longest, int) and longest <= 512 else CLIP_TOKENS
