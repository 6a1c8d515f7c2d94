"""A text-to-image pipeline as one denoiser, which pipelines share parts, and how it is written."""

import hashlib
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
from diffusers.utils import convert_state_dict_to_kohya
from safetensors.torch import save_file
from torch import Tensor

from efface.diffusion.config_files import read_json
from efface.diffusion.denoiser import Codec
from efface.diffusion.model_folder import ModelInfo, drawn_shape, sample_shape
from efface.diffusion.quiet import quiet
from efface.diffusion.schedule import read_schedule
from efface.diffusion.text.copying import copy_part
from efface.diffusion.text.denoiser import TextDenoiser
from efface.diffusion.text.encoding import constant_rows
from efface.diffusion.text.families import tokenizer_of
from efface.diffusion.text.folder import parts_in
from efface.diffusion.text.prompts import PromptEncoder, load_readers
from efface.errors import ModelError

# What a pipeline that only encodes prompts must not do.
QUIET = {"requires_safety_checker": False, "add_watermarker": False}
UNET = "unet"
KOHYA = "kohya.safetensors"
LORA_CARD = """\
# LoRA

The change that efface made to a text-to-image model, for stock diffusers. BASE is the model that
the run began with:

```python
from diffusers import DiffusionPipeline, {scheduler}

pipe = DiffusionPipeline.from_pretrained(BASE)
pipe.load_lora_weights(THIS_FOLDER, adapter_name="efface")
{use}```

{scale}`pipe.set_adapters(["efface"], [0.5])` applies half of it, a weight of 0 nothing, and
further LoRAs of the same base can stand beside it. The whole changed pipeline lies beside this
folder in `pipeline`.

{interfaces}"""
INTERFACES = """\
User interfaces read `{file}`. One that does not understand a LoRA may ignore it without a word, and
then nothing is forgotten: draw one prompt about what was forgotten from one seed, with and without
it. `efface verify PACK --model PIPELINE --lora THIS_FOLDER` does so with stock diffusers, and
compares the images with the delivered pipeline's.
"""
ONE_STEP_USE = """\
pipe.scheduler = {scheduler}.from_pretrained(THIS_FOLDER, subfolder="scheduler")
images = pipe("a prompt", num_inference_steps=1{options}).images
"""
OURS = ("default_steps", "input_scale", "sample_size")  # what efface adds to model_index.json


def build_text_denoiser(
    info: ModelInfo, network: Any, scheduler: Any, codec: Codec, prompts: PromptEncoder
) -> TextDenoiser:
    """The denoiser of a text-to-image pipeline; the scheduler becomes what its pipeline makes it.

    `codec` and `prompts` may be those of another pipeline that differs in its network alone.
    """
    assert info.family is not None
    stock = dict(info.family.scheduler_options)
    scheduler.register_to_config(**{k: v for k, v in stock.items() if k in scheduler.config})
    kind, schedule = read_schedule(scheduler)
    return TextDenoiser(
        network=network,
        schedule=schedule,
        kind=kind,
        sample_shape=sample_shape(info),
        scheduler=scheduler,
        codec=codec,
        family=info.family,
        prompts=prompts,
        folder=info.folder,
        index=info.index,
        source=info.source,
    )


def build_prompt_encoder(
    info: ModelInfo, encoders: Mapping[str, Any], network: Any
) -> PromptEncoder:
    """Loaded text encoders by their subfolders, with their tokenizers. Raises ModelError."""
    assert info.family is not None
    readers = load_readers(info)
    tokenizers = {tokenizer_of(reader.name): reader.tokenizer for reader in readers}
    pipeline = _encoding_pipeline(info, {**encoders, **tokenizers})
    if len(encoders) < len(info.family.encoders):
        # Zeros stand for what a missing encoder says, as wide as the network takes them.
        pipeline.transformer = SimpleNamespace(config=network.config)
    _, height, width = drawn_shape(info)
    constants = constant_rows(network, info.family, (height, width))
    return PromptEncoder(info.family, pipeline, readers, constants)


def _encoding_pipeline(info: ModelInfo, parts: Mapping[str, Any]) -> Any:
    """The stock pipeline with its text encoders and nothing else."""
    with quiet():  # of image processors that no part here is given
        kind = getattr(diffusers, info.index["_class_name"])
    options: dict[str, Any] = {}
    for name, parameter in inspect.signature(kind.__init__).parameters.items():
        if name in QUIET:
            options[name] = QUIET[name]
        elif name in info.index and isinstance(parameter.default, bool):
            options[name] = _read_switch(info, name)
        elif parameter.default is inspect.Parameter.empty and name != "self":
            options[name] = None
    return kind(**(options | dict(parts)))


def _read_switch(info: ModelInfo, name: str) -> bool:
    """An option of the pipeline that is on or off; ModelError for anything else."""
    value = info.index[name]
    if not isinstance(value, bool):
        raise ModelError(
            f"{info.source}: model_index.json has {value!r} for {name}: it must be true or false."
        )
    return value


def differ_in_network_alone(one: ModelInfo, other: ModelInfo) -> bool:
    """Whether two text-to-image pipelines differ in their network's weights and scheduler alone.

    What a library notes of itself in a configuration does not count. Reads all other files; raises
    ModelError for a configuration that cannot be read.
    """
    if one.family is None or other.family is None:
        return False
    return _beside_weights(one) == _beside_weights(other)


def _beside_weights(info: ModelInfo) -> dict[str, Any]:
    """What each configuration says, and the digest of each other file, by its path."""
    content: dict[str, Any] = {"model_index.json": _said(info.index, "scheduler")}
    for part in set(parts_in(info.index)) - {"scheduler"}:
        for file in filter(Path.is_file, (info.folder / part).glob("[!.]*")):
            name = f"{part}/{file.name}"
            if file.name.endswith("config.json"):
                content[name] = _said(read_json(file, "it describes a part of the model"))
            elif part != info.component:
                with file.open("rb") as stream:
                    content[name] = hashlib.file_digest(stream, "sha256").hexdigest()
    return content


def _said(content: dict[str, Any], *left_out: str) -> dict[str, Any]:
    """Without the version and the folder of the library that wrote it."""
    noted = {key for key in content if key.startswith("_") and key != "_class_name"}
    left = noted | {"transformers_version", *left_out}
    return {key: value for key, value in content.items() if key not in left}


def write_text(
    denoiser: TextDenoiser, folder: Path, scheduler: Any, extra: Mapping[str, Any]
) -> None:
    """Write the pipeline's folder, with `scheduler` in place of its own.

    VAE, text encoders, tokenizers and what efface has no use for (a safety checker) are copied
    from the folder that the model came from. `extra` goes into model_index.json, where efface
    reads it and stock diffusers ignores it with a warning. Raises ModelError and OSError.
    """
    family = denoiser.family
    network: Any = denoiser.network
    network.save_pretrained(folder / family.component, safe_serialization=True)
    scheduler.save_pretrained(folder / "scheduler")
    for name in parts_in(denoiser.index):
        if name not in (family.component, "scheduler"):
            copy_part(denoiser.folder / name, folder / name)
    own = {name: value for name, value in denoiser.index.items() if name not in OURS}
    own |= {
        "_diffusers_version": diffusers.__version__,
        "scheduler": ["diffusers", type(scheduler).__name__],
    }
    if family.default_size is not None:
        own["sample_size"] = denoiser.sample_shape[1]
    text = json.dumps(own | dict(extra), indent=2) + "\n"
    (folder / "model_index.json").write_text(text, encoding="utf-8")


def write_lora(
    denoiser: TextDenoiser, layers: Mapping[str, Tensor], folder: Path, extra: Mapping[str, Any]
) -> None:
    """Write a LoRA for the stock pipeline, with `denoiser`'s scheduler and a README.

    That of a U-Net also under the names of kohya's scripts, which user interfaces read.

    `extra` is what a one-step generator adds to model_index.json, empty for all others.
    """
    family, scheduler = denoiser.family, type(denoiser.scheduler).__name__
    kind = getattr(diffusers, denoiser.index["_class_name"])
    kind.save_lora_weights(folder, **{f"{family.component}_lora_layers": dict(layers)})
    kohya = family.component == UNET
    if kohya:
        named = {f"{UNET}.{name}": tensor.contiguous() for name, tensor in layers.items()}
        save_file(convert_state_dict_to_kohya(named), folder / KOHYA, metadata={"format": "pt"})
    denoiser.scheduler.save_pretrained(folder / "scheduler")
    use = scale = ""
    if extra:
        options = ", guidance_scale=1.0" if family.guidance_scale else ""
        if extra["input_scale"] != 1.0:
            scale = f"Hand it latents of your own, times {extra['input_scale']:.6g}. "
        use = ONE_STEP_USE.format(scheduler=scheduler, options=options)
    interfaces = INTERFACES.format(file=KOHYA if kohya else "pytorch_lora_weights.safetensors")
    text = LORA_CARD.format(scheduler=scheduler, use=use, scale=scale, interfaces=interfaces)
    (folder / "README.md").write_text(text, encoding="utf-8")
