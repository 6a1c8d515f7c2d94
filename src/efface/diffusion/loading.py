"""Pipeline folder or hub id <-> Denoiser; safetensors only."""

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers.models.embeddings import LabelEmbedding
from safetensors import SafetensorError

from efface.diffusion.adapters import SharedNetwork
from efface.diffusion.denoiser import (
    ClassDenoiser,
    Codec,
    Denoiser,
    IdentityCodec,
    UnconditionalDenoiser,
    VAECodec,
)
from efface.diffusion.model_folder import ModelInfo, fetch_weights, inspect_model
from efface.diffusion.one_step import one_step_scheduler
from efface.diffusion.places import ZOO
from efface.diffusion.quiet import loading, quiet
from efface.diffusion.sampling import OneStep, Sampler
from efface.diffusion.schedule import load_scheduler, most_steps, read_schedule, with_levels_of
from efface.diffusion.text.building import (
    build_prompt_encoder,
    build_text_denoiser,
    write_lora,
    write_text,
)
from efface.diffusion.text.denoiser import TextDenoiser
from efface.diffusion.text.prompts import PromptEncoder
from efface.errors import ModelError, RunError

CLASS_PIPELINE = ZOO / "digits" / "pipeline.py"  # of all class-conditional models


def load(
    model: str | Path | ModelInfo,
    null_label: int | None = None,
    dtype: torch.dtype = torch.float32,
    encoded: PromptEncoder | None = None,
    finite: bool = True,
) -> Denoiser:
    """Load a diffusers model: a pipeline folder, a run folder, a hub id or `zoo:NAME`.

    The network is read in `dtype`, from `unet_ema` where the folder has one, all else in float32.
    A text-to-image model whose prompts have been `encoded` needs no text encoders. Raises
    ModelError, without `finite` not for a network of values that are no numbers.
    """
    info = model if isinstance(model, ModelInfo) else inspect_model(model, null_label)
    if info.on_hub:
        fetch_weights(info)
    scheduler = load_scheduler(info.place("scheduler"), info.index["scheduler"][1])
    network = load_network(info, dtype, finite)
    codec: Codec = IdentityCodec()
    if info.vae:
        vae = _from_pretrained(info, diffusers.AutoencoderKL, info.place("vae"))
        codec = VAECodec(vae.requires_grad_(False))
    if info.family is None:
        made = build_denoiser(network, scheduler, info.num_classes, info.null_label, codec)
        return replace(made, source=info.source)
    if encoded is None:
        encoded = build_prompt_encoder(info, _load_encoders(info), network)
    return build_text_denoiser(info, network, scheduler, codec, encoded)


def load_beside(
    model: ModelInfo, other: Denoiser, dtype: torch.dtype = torch.float32, finite: bool = True
) -> Denoiser:
    """Load what a run made of `other`; of a text-to-image pipeline the network alone."""
    if not isinstance(other, TextDenoiser):
        return load(model, dtype=dtype, finite=finite)
    network = load_network(model, dtype, finite).to(other.device)
    scheduler = load_scheduler(model.place("scheduler"), model.index["scheduler"][1])
    return build_text_denoiser(model, network, scheduler, other.codec, other.prompts)


def build_denoiser(
    network: Any,
    scheduler: Any,
    num_classes: int | None,
    null_label: int | None = None,
    codec: Codec | None = None,
) -> Denoiser:
    """A Denoiser around a diffusers network and the scheduler it was trained with."""
    kind, schedule = read_schedule(scheduler)
    for module in network.modules():
        if isinstance(module, LabelEmbedding):
            # In training mode diffusers would swap labels for "no class" at random, on its own
            # and differently in every block; whether to drop a condition is the method's choice.
            module.dropout_prob = 0.0
    size = network.config.sample_size
    height, width = (size, size) if isinstance(size, int) else size
    common = {
        "network": network,
        "schedule": schedule,
        "kind": kind,
        "sample_shape": (network.config.in_channels, height, width),
        "scheduler": scheduler,
        "codec": codec or IdentityCodec(),
    }
    if num_classes is None:
        return UnconditionalDenoiser(**common)
    return ClassDenoiser(**common, num_classes=num_classes, null_label=null_label)


def load_network(info: ModelInfo, dtype: torch.dtype = torch.float32, finite: bool = True) -> Any:
    """The network alone, as diffusers knows it. Raises ModelError."""
    kind = getattr(diffusers, info.network_class)
    network = _from_pretrained(info, kind, info.weights_folder, dtype, finite)
    if info.sample_size is not None and "sample_size" in network.config:
        network.register_to_config(sample_size=info.sample_size)  # where it was left open
    return network


def _load_encoders(info: ModelInfo) -> dict[str, Any]:
    """Text encoders by their subfolders."""
    kinds = {name: getattr(transformers, info.index[name][1]) for name in info.encoders}
    return {
        name: _from_pretrained(info, kind, info.folder / name).requires_grad_(False)
        for name, kind in kinds.items()
    }


def _from_pretrained(
    info: ModelInfo,
    kind: Any,
    folder: Path,
    dtype: torch.dtype = torch.float32,
    finite: bool = True,
) -> Any:
    with loading(folder), quiet(), quiet("diffusers"):
        model, loaded = kind.from_pretrained(
            folder,
            variant=info.variants.get(folder),
            use_safetensors=True,
            dtype=dtype,
            output_loading_info=True,
        )
    if loaded["missing_keys"]:
        # diffusers would go on with random numbers in their place.
        raise ModelError(
            f"{folder} lacks {len(loaded['missing_keys'])} weights, "
            f"{sorted(loaded['missing_keys'])[0]} among them: copy or save the model again."
        )
    if loaded["unexpected_keys"] and issubclass(kind, diffusers.ModelMixin):
        # diffusers would go on with another network than the one that was trained.
        raise ModelError(
            f"{folder} holds {len(loaded['unexpected_keys'])} weights that its config.json has no "
            f"place for, {sorted(loaded['unexpected_keys'])[0]} among them: copy or save the model "
            "again."
        )
    for name, weight in model.state_dict().items():
        if finite and not weight.isfinite().all():
            raise ModelError(
                f"{folder} is broken: its weight {name} holds values that are not finite "
                "numbers. Copy or download the model again, or give an earlier checkpoint."
            )
    return model.eval()


def save_pipeline(
    denoiser: Denoiser,
    folder: Path,
    sampler: Sampler | None = None,
    index: Mapping[str, Any] | None = None,
) -> None:
    """Write a folder that stock diffusers loads; what was there is replaced only at the end.

    A OneStep sampler goes along as the cut scheduler. `index` is the model_index.json of the
    model it came from, whose names of labels are kept. Raises RunError if the disk refuses.
    """
    with _replacing(folder) as part:
        _write(denoiser, part, sampler, index or {})


def save_lora(denoiser: TextDenoiser, folder: Path, sampler: Sampler | None = None) -> None:
    """Write the adapter of a text model's network as a LoRA that the stock pipeline loads.

    A OneStep sampler goes along as the cut scheduler. Raises RunError if the disk refuses.
    """
    assert isinstance(denoiser.network, SharedNetwork)
    layers = denoiser.network.lora_layers()
    scheduler, extra = _delivered(denoiser, sampler)
    with _replacing(folder) as part:
        write_lora(replace(denoiser, scheduler=scheduler), layers, part, extra)


@contextlib.contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """A folder to write into, which takes the place of `folder` when all went well."""
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        yield part
    except (OSError, SafetensorError) as error:
        shutil.rmtree(part, ignore_errors=True)
        raise RunError(
            f"the model could not be written to {folder} ({error}): make room and start again "
            "with --resume."
        ) from error
    if folder.exists():
        shutil.rmtree(folder)
    part.rename(folder)


def _delivered(denoiser: Denoiser, sampler: Sampler | None) -> tuple[Any, dict[str, Any]]:
    """The scheduler that goes along, and what model_index.json says of a one-step generator."""
    if not isinstance(sampler, OneStep):
        return denoiser.scheduler, {}
    scheduler = one_step_scheduler(denoiser, sampler.t_init)
    return scheduler, {"default_steps": 1, "input_scale": sampler.input_scale}


def _write(
    denoiser: Denoiser, folder: Path, sampler: Sampler | None, index: Mapping[str, Any]
) -> None:
    scheduler, extra = _delivered(denoiser, sampler)
    if isinstance(denoiser, TextDenoiser):
        write_text(denoiser, folder, scheduler, extra)
        return
    network: Any = denoiser.network
    latent_classes = isinstance(denoiser.codec, VAECodec) and isinstance(denoiser, ClassDenoiser)
    component = "transformer" if latent_classes else "unet"
    network.save_pretrained(folder / component, safe_serialization=True)
    # Read by efface; stock pipelines ignore it with a warning.
    entries: dict[str, Any] = {component: ["diffusers", type(network).__name__]} | extra
    if index.get("id2label"):
        entries["id2label"] = index["id2label"]
    if isinstance(denoiser.codec, VAECodec):
        pipeline: Any = "DiTPipeline"
        denoiser.codec.vae.save_pretrained(folder / "vae", safe_serialization=True)
        entries |= {"vae": ["diffusers", "AutoencoderKL"]}
    elif isinstance(denoiser, ClassDenoiser):
        pipeline = ["pipeline", "ClassConditionalPipeline"]
        shutil.copyfile(CLASS_PIPELINE, folder / "pipeline.py")
        default = {"default_steps": min(50, most_steps(scheduler)), "input_scale": 1.0}
        entries = default | entries | {"null_label": denoiser.null_label}
    else:
        pipeline = index.get("_class_name", f"{type(scheduler).__name__[:4]}Pipeline")
        if pipeline != "DDPMPipeline" or not isinstance(scheduler, diffusers.DDPMScheduler):
            # The stock pipeline makes a DDIMScheduler of any other, which may not know its betas.
            pipeline = "DDIMPipeline"
            if not isinstance(scheduler, diffusers.DDIMScheduler):
                scheduler = with_levels_of(scheduler, diffusers.DDIMScheduler)
    scheduler.save_pretrained(folder / "scheduler")
    entries |= {"scheduler": ["diffusers", type(scheduler).__name__]}
    header = {"_class_name": pipeline, "_diffusers_version": diffusers.__version__}
    text = json.dumps(header | entries, indent=2) + "\n"
    (folder / "model_index.json").write_text(text, encoding="utf-8")
