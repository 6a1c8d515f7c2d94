"""What networks take in memory, by their configurations alone: nothing is loaded or computed."""

import contextlib
import functools
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import diffusers
import torch
import transformers
from accelerate import Accelerator
from torch import Tensor, nn

from efface.diffusion.adapters import SharedNetwork
from efface.diffusion.config_files import read_json
from efface.diffusion.denoiser import MOST_PIXELS, VAECodec
from efface.diffusion.model_folder import ModelInfo, drawn_shape, sample_shape
from efface.diffusion.quiet import loading
from efface.diffusion.sampling import rows_of
from efface.diffusion.text.encoding import call_network, constant_rows
from efface.diffusion.text.families import FAMILIES, UNET_ATTENTION
from efface.memory.live import Kernels, Live, tensors_of
from efface.settings.evaluate import EvaluateSettings

LIBRARIES = {"diffusers": diffusers, "transformers": transformers}
Gradient = Literal["weights", "inputs", "none"]  # what the passes of a network keep tensors for


@dataclass(frozen=True, kw_only=True)
class Holding:
    """How a network is held and passed."""

    lora_rank: int | None = None
    bfloat16: bool = False
    checkpointing: bool = False
    autocast: str | None = None  # the type of the device that trains in mixed precision


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Bytes of a network."""

    network: int  # all tensors, in the precision they are held in
    copy: int  # what a trained copy has of its own: all tensors, or those of an adapter
    trained: int  # its trained parameters, in float32
    condition: int  # one row of its condition, in float32


@dataclass(frozen=True, kw_only=True)
class Passes:
    """Bytes that passes keep for a backward pass, and at most more while one or the other runs."""

    kept: int
    passing: int


@dataclass(frozen=True)
class Part:
    """A part of a pipeline, by its configuration."""

    library: str
    kind: str  # its class
    config: str  # as JSON
    folder: Path = field(compare=False)

    @contextlib.contextmanager
    def without_memory(self) -> Iterator[Any]:
        """The part, and all that is made of it; ModelError for a configuration that makes none."""
        with loading(self.folder), torch.device("meta"):
            kind, config = getattr(LIBRARIES[self.library], self.kind), json.loads(self.config)
            if self.library == "diffusers":
                yield kind.from_config(config).eval()
            else:
                yield kind(kind.config_class.from_dict(config))


@dataclass(frozen=True)
class Network:
    """The network of a pipeline, and what it is given."""

    part: Part
    family: str | None
    shape: tuple[int, int, int]  # (C, H, W) of a sample in model space
    clip_tokens: int

    def held(self, network: Any, holding: Holding, trained: bool) -> Any:
        """A network as it is trained, or a view that casts what it is given."""
        nn.Module.to(network, torch.bfloat16 if holding.bfloat16 else torch.float32)
        if not trained:
            return SharedNetwork(network)
        if holding.lora_rank is None:
            return network.requires_grad_(True)
        targets = UNET_ATTENTION if self.family is None else FAMILIES[self.family].attention
        view = SharedNetwork(network).adapted(targets, holding.lora_rank, 1.0, 0)
        return view.requires_grad_(True)

    def condition(self, network: Any, rows: int) -> dict[str, Tensor]:
        """What the network is given beside samples and timesteps."""
        config = network.config
        if self.family is None:
            conditional = config.get("num_class_embeds") or config.get("num_embeds_ada_norm")
            return {"class_labels": torch.zeros(rows, dtype=torch.long)} if conditional else {}
        family, (_, height, width) = FAMILIES[self.family], self.shape
        tokens = self.clip_tokens if family.longest is None else family.longest
        if family.name == "sd3":
            tokens += self.clip_tokens
        names = ("caption_channels", "joint_attention_dim", "cross_attention_dim")
        entries = next(config[name] for name in names if config.get(name) is not None)
        entries = entries if isinstance(entries, int) else max(entries)
        given = {"encoder_hidden_states": torch.zeros(rows, tokens, entries)}
        if family.name == "sdxl":
            size_entries = 6 * config.addition_time_embed_dim
            pooled = config.projection_class_embeddings_input_dim - size_entries
            given["text_embeds"] = torch.zeros(rows, pooled)
        if config.get("pooled_projection_dim") is not None:
            given["pooled_projections"] = torch.zeros(rows, config.pooled_projection_dim)
        if family.name.startswith("pixart"):
            given["encoder_attention_mask"] = torch.zeros(rows, tokens, dtype=torch.long)
        constants = constant_rows(network, family, (8 * height, 8 * width))
        return given | {name: torch.stack([row] * rows) for name, row in constants.items()}

    def call(self, network: Any, x: Tensor, condition: dict[str, Tensor], guided: bool) -> Tensor:
        if guided:
            x = x.repeat(2, 1, 1, 1)
            condition = {name: torch.cat([rows, rows]) for name, rows in condition.items()}
        t = torch.zeros(len(x))
        if self.family is not None:
            return call_network(network, FAMILIES[self.family], x, t, condition)
        return network(x, t.long(), **condition, return_dict=False)[0]


def describe_part(model: ModelInfo, name: str) -> Part:
    folder = model.weights_folder if name == model.component else model.place(name)
    library, kind = model.index[name]
    config = read_json(folder / "config.json", "it describes a part of the model")
    return Part(library, kind, json.dumps(config), folder)


def describe_network(model: ModelInfo) -> Network:
    configs = [json.loads(describe_part(model, name).config) for name in model.encoders]
    positions = [config.get("max_position_embeddings") or 0 for config in configs]  # none in T5
    return Network(
        part=describe_part(model, model.component),
        family=None if model.family is None else model.family.name,
        shape=sample_shape(model),
        clip_tokens=max(positions, default=0),
    )


@functools.lru_cache(maxsize=32)
def part_footprint(part: Part) -> int:
    """Bytes of a VAE, a text encoder or a network, in float32."""
    with part.without_memory() as module:
        return _bytes(module)


@functools.lru_cache(maxsize=32)
def network_footprint(network: Network, holding: Holding) -> Footprint:
    """The network's own; ConfigError where a LoRA finds nothing to change."""
    with network.part.without_memory() as module:
        condition = network.condition(module, 1)
        trained = network.held(module, holding, trained=True)
        return Footprint(
            network=_bytes(module),
            copy=_bytes(trained),
            trained=sum(4 * p.numel() for p in trained.parameters()),
            condition=sum(rows.nbytes for rows in condition.values()),
        )


@functools.lru_cache(maxsize=256)
def pass_footprint(
    network: Network,
    holding: Holding,
    rows: tuple[int, ...],
    gradient: Gradient = "none",
    guided: bool = False,
) -> Passes:
    """Passes of `rows` each, and one backward pass through all of them.

    Conditions are not counted, but for the copies that guidance makes.
    """
    kernels = Kernels(holding.autocast)
    with network.part.without_memory() as module:
        conditions = [network.condition(module, count) for count in rows]
        if holding.checkpointing:
            module.enable_gradient_checkpointing(kernels.checkpointed())
        held = network.held(module, holding, trained=gradient == "weights")
        live = Live([*tensors_of(held), *(t for c in conditions for t in c.values())])
        with live, torch.set_grad_enabled(gradient != "none"):
            samples = [torch.zeros(n, *network.shape).requires_grad_() for n in rows]
            with kernels:
                pairs = zip(samples, conditions, strict=True)
                outputs = [network.call(held, x, given, guided) for x, given in pairs]
            kernels.casts = None  # autocast forgets them before the backward pass
            kept = live.now - live.given
            if gradient != "none":
                torch.autograd.grad([output.sum() for output in outputs], samples)
    return Passes(kept=kept, passing=live.peak - live.given - kept)


def rows_footprint(model: ModelInfo, rows: int, bfloat16: bool) -> int:
    """Bytes of one pass of the pretrained network, with its conditions.

    Of `rows`, or of as many as pass at once.
    """
    network, holding = describe_network(model), Holding(bfloat16=bfloat16)
    rows = rows_of(network.shape, rows)
    passes = pass_footprint(network, holding, (rows,))
    return rows * network_footprint(network, holding).condition + passes.kept + passes.passing


def sampling_footprint(
    model: ModelInfo,
    images: int,
    bfloat16: bool,
    evaluate: EvaluateSettings,
    device: str | None = None,
) -> int:
    """Bytes of sampling `images` in batches, with their conditions and beside the model.

    Images leave a GPU as they are finished; on the CPU they are there three times as they become
    bytes. `device` is the type of one, by default of this process's.
    """
    network, holding = describe_network(model), Holding(bfloat16=bfloat16)
    rows = rows_of(network.shape, min(images, evaluate.batch_size))
    guided = evaluate.set_guidance != 1.0
    if evaluate.guidance is None:  # several are tried where there is anything to choose by
        guided = model.null_label is not None and evaluate.reference is not None
    passes = pass_footprint(network, holding, (rows,), guided=guided)
    passing, shape = passes.kept + passes.passing, drawn_shape(model)
    image = 4 * math.prod(shape)
    if model.vae:
        decoded = min(rows, max(1, MOST_PIXELS // math.prod(shape[1:])))
        decoding = _decoding(describe_part(model, "vae"), (decoded, *network.shape))
        passing = max(passing, decoding + (rows - decoded) * image)
    finished = 0 if (device or Accelerator().device.type) == "cuda" else image
    taken = max((images - rows) * finished + passing, 3 * images * finished)
    return images * network_footprint(network, holding).condition + taken


@functools.lru_cache(maxsize=32)
def _decoding(vae: Part, shape: tuple[int, ...]) -> int:
    with vae.without_memory() as module, Live(tensors_of(module)) as live, Kernels():
        VAECodec(module).decode(torch.zeros(shape))
    return live.peak - live.given


def _bytes(module: nn.Module) -> int:
    """All tensors; of a view those of its adapter alone."""
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))
