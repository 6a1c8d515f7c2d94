"""The parts of a text-to-image pipeline as one denoiser, and which pipelines share them."""

import hashlib
import inspect
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers

from efface.diffusion.codec import Codec
from efface.diffusion.config_files import read_json
from efface.diffusion.model_folder import ModelInfo, drawn_shape, sample_shape
from efface.diffusion.quiet import quiet
from efface.diffusion.schedule import read_schedule
from efface.diffusion.text.denoiser import TextDenoiser
from efface.diffusion.text.encoding import constant_rows
from efface.diffusion.text.families import tokenizer_of
from efface.diffusion.text.folder import parts_in
from efface.diffusion.text.prompts import PromptEncoder
from efface.diffusion.text.readers import load_readers

# What a pipeline that only encodes prompts must not do.
QUIET = {"requires_safety_checker": False, "add_watermarker": False}


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
        elif name in info.index and not isinstance(info.index[name], list):
            options[name] = info.index[name]
        elif parameter.default is inspect.Parameter.empty and name != "self":
            options[name] = None
    return kind(**(options | dict(parts)))


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
