"""What a network takes in memory, from its configuration alone: nothing is loaded or computed."""

from __future__ import annotations

import contextlib
import functools
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from efface.diffusion.adapters import SharedNetwork
from efface.diffusion.model_folder import ModelInfo
from efface.diffusion.text.encoding import constant_rows
from efface.diffusion.text.families import FAMILIES, UNET_ATTENTION, TextFamily, tokenizer_of
from efface.diffusion.text.networks import CALL
from efface.errors import ModelError

CLIP_TOKENS = 77
PASSING = 2  # gradients of the largest activations that a backward pass holds beside them


@dataclass(frozen=True)
class Activations:
    """Bytes of one row: `kept` until the backward pass, and more in `passing` while it runs."""

    kept: int
    passing: int


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Bytes of a network, and what a pass leaves behind."""

    network: int  # all tensors, in the precision they are held in
    trained: int  # of those parameters that are trained, in float32
    activations: Activations
    activations_frozen: Activations  # where a gradient passes through to what comes before
    condition: int  # one row of what the network is told, in float32
    entries: int  # of one sample in model space


@dataclass(frozen=True, kw_only=True)
class Holding:
    """How a network is to be held."""

    lora_rank: int | None = None
    bf16: bool = False
    checkpointing: bool = False


def network_footprint(info: ModelInfo, holding: Holding) -> Footprint:
    """The network's own; ConfigError where a LoRA is asked for and finds nothing to change."""
    config = json.loads((info.folder / info.component / "config.json").read_text("utf-8"))
    longest = [_longest(info.folder / tokenizer_of(encoder)) for encoder in info.encoders]
    clip_tokens = max(longest, default=CLIP_TOKENS)
    name = None if info.family is None else info.family.name
    with _building(info.folder / info.component):
        shape = sample_shape(info, config)
        return _footprint(info.network_class, json.dumps(config), name, shape, clip_tokens, holding)


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


@functools.lru_cache(maxsize=32)
def _footprint(
    network_class: str,
    config: str,
    family: str | None,
    shape: tuple[int, int, int],
    clip_tokens: int,
    holding: Holding,
) -> Footprint:
    kind = getattr(diffusers, network_class)
    dtype = torch.bfloat16 if holding.bf16 else torch.float32
    network = kind.from_config(json.loads(config)).eval()
    nn.Module.to(network, dtype)  # diffusers' own warns
    size = _size(network)
    trained: nn.Module = network
    if holding.lora_rank is not None:
        targets = UNET_ATTENTION if family is None else FAMILIES[family].attention
        trained = SharedNetwork(network).adapted(targets, holding.lora_rank, 1.0, 0)
    if holding.lora_rank is not None or holding.bf16:  # which casts what it is given
        network = SharedNetwork(network)
        trained = network if holding.lora_rank is None else trained
    inputs = _inputs(_tree(network), FAMILIES.get(family or ""), shape, clip_tokens)
    trained.requires_grad_(True)
    activations = _activations(trained, family, shape, inputs, holding)
    network.requires_grad_(False)
    return Footprint(
        network=size,
        trained=sum(4 * p.numel() for p in trained.parameters()),
        activations=activations,
        activations_frozen=_activations(network, family, shape, inputs, holding),
        condition=sum(row.nbytes for row in inputs.values()),
        entries=math.prod(shape),
    )


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
    """One row of what the network is told beside the sample and the timestep."""
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
    network: nn.Module,
    family: str | None,
    shape: tuple[int, int, int],
    inputs: dict[str, Tensor],
    holding: Holding,
) -> Activations:
    """What one pass of one row keeps, and the largest gradients in passing.

    With checkpointing, a block keeps its inputs alone, and the largest one is passed again.
    """
    kept = _Kept(network)
    _tree(network).enable_gradient_checkpointing(kept.block)
    x, t = torch.zeros(1, *shape, requires_grad=True), torch.zeros(1)
    with torch.autograd.graph.saved_tensors_hooks(kept.add, lambda tensor: tensor), _Fused():
        if family is not None:
            CALL[family](network, x, t, inputs)
        else:
            network(x, t.long(), **inputs, return_dict=False)
    return kept.checkpointed() if holding.checkpointing else kept.whole()


class _Kept:
    """The storages that autograd keeps, parameters and buffers apart, by what they belong to."""

    def __init__(self, network: nn.Module) -> None:
        modules = list(network.modules())
        own = [t for m in modules for t in (*m._parameters.values(), *m._buffers.values())]
        self._own = {t.untyped_storage()._cdata for t in own if t is not None}
        self._alive: list[Any] = []  # so that no identity is given twice
        self._outside: dict[int, int] = {}  # bytes by identity: kept outside all blocks
        self._given: dict[int, int] = {}  # what blocks are given
        self._blocks: list[dict[int, int]] = []  # what is kept within each
        self._within: dict[int, int] | None = None

    def add(self, tensor: Tensor) -> Tensor:
        self._note(tensor, self._outside if self._within is None else self._within)
        return tensor

    def block(self, module: Any, *inputs: Any) -> Any:
        """Pass a block that would be checkpointed, and note what it keeps and what it is given."""
        for tensor in tree_leaves(inputs):
            if isinstance(tensor, Tensor):
                self._note(tensor, self._given)
        self._within = {}
        output = module(*inputs)
        self._blocks.append(self._within)
        self._within = None
        return output

    def whole(self) -> Activations:
        every = self._outside | {k: v for block in self._blocks for k, v in block.items()}
        return Activations(sum(every.values()), PASSING * max(every.values(), default=0))

    def checkpointed(self) -> Activations:
        """Blocks keep what they are given alone, and the largest one is passed again."""
        kept = self._outside | self._given
        again = [{k: v for k, v in block.items() if k not in kept} for block in self._blocks]
        inside = max((sum(block.values()) for block in again), default=0)
        largest = max((size for part in (kept, *again) for size in part.values()), default=0)
        return Activations(sum(kept.values()), inside + PASSING * largest)

    def _note(self, tensor: Tensor, where: dict[int, int]) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._own:
            self._alive.append(storage)
            where[storage._cdata] = storage.nbytes()


class _Fused(TorchFunctionMode):
    """Attention as the fused kernels keep it; without a device the explicit softmax would run."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        del types
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        given = dict(zip(("query", "key", "value"), args, strict=False)) | (kwargs or {})
        fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        mask = given.get("attn_mask")
        return fused(given["query"], given["key"], given["value"], attn_mask=mask)[0]


def _size(module: nn.Module) -> int:
    return sum(t.nbytes for t in (*module.parameters(), *module.buffers()))


def _longest(folder: Path) -> int:
    """Tokens of a tokenizer; what T5 reads is set by the family instead."""
    longest = None
    with contextlib.suppress(OSError, ValueError, AttributeError):  # loading it says what is wrong
        content = (folder / "tokenizer_config.json").read_text("utf-8")
        longest = json.loads(content).get("model_max_length")
    return longest if isinstance(longest, int) and longest <= 512 else CLIP_TOKENS
