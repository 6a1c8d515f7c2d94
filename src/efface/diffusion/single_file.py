"""A checkpoint in one file, as user interfaces have them, as a folder of diffusers."""

from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.loaders.single_file_utils import SingleFileComponentError
from safetensors import SafetensorError, safe_open

from efface.diffusion.model_folder import ModelInfo, inspect_model, read_index
from efface.diffusion.places import find_here
from efface.diffusion.quiet import loading, quiet
from efface.diffusion.text.families import PIPELINES
from efface.diffusion.weight_files import LORA_NAMES, PICKLE_SUFFIXES
from efface.errors import ModelError
from efface.files import require_empty

PARTS = {"safety_checker": None, "requires_safety_checker": False, "feature_extractor": None}


def convert(checkpoint: str | Path, config: str | Path, out: str | Path) -> ModelInfo:
    """Write a `.safetensors` checkpoint as a pipeline folder, by diffusers' own conversion.

    `config` is a folder of the same architecture, of which the configurations, the tokenizers and
    what the file lacks are taken. Nothing is downloaded, and no pickle is opened. Raises ModelError
    for what cannot be converted, RunError where `out` holds something.
    """
    checkpoint, out = Path(checkpoint), Path(out)
    _check_checkpoint(checkpoint)
    folder, kind = _read_config(str(config))
    require_empty(out)
    known = kind.__init__.__code__.co_varnames
    options: dict[str, Any] = {name: value for name, value in PARTS.items() if name in known}
    with loading(checkpoint), quiet("diffusers"), quiet():
        try:
            pipeline = kind.from_single_file(
                str(checkpoint), config=str(folder), local_files_only=True, **options
            )
        except SingleFileComponentError as error:
            raise ModelError(f"{checkpoint} cannot be converted: {error}") from error
    for name, part in pipeline.components.items():
        if isinstance(part, torch.nn.Module) and any(p.is_meta for p in part.parameters()):
            raise ModelError(
                f"{checkpoint} lacks weights of {name}, and {folder} has none: give a folder with "
                "those of the missing parts."
            )
    with quiet("diffusers"), quiet():
        pipeline.save_pretrained(out, safe_serialization=True)
    return inspect_model(out)


def _check_checkpoint(path: Path) -> None:
    """Raise ModelError for anything but a whole checkpoint in safetensors."""
    if path.suffix in PICKLE_SUFFIXES:
        raise ModelError(
            f"{path} is a pickle, which can run code when it is opened: only safetensors are read."
        )
    if not path.is_file() or path.suffix != ".safetensors":
        raise ModelError(f"no checkpoint at {path}: give a .safetensors file.")
    try:
        with safe_open(path, framework="pt") as tensors:
            names = list(tensors.keys())
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is not a readable safetensors file: download it anew.") from error
    if any(LORA_NAMES.search(name) or name.startswith("lora_") for name in names):
        raise ModelError(
            f"{path} is a LoRA, which changes a model and is none: give a whole checkpoint."
        )


def _read_config(config: str) -> tuple[Path, Any]:
    """The folder and its pipeline's class, of text-to-image models."""
    folder = find_here(config)
    if folder is None:
        raise ModelError(
            f"no model at {config}: give the folder of a diffusers pipeline of the same "
            "architecture as the checkpoint, its weights may be missing."
        )
    name = str(read_index(folder).get("_class_name"))
    if name not in PIPELINES:
        raise ModelError(
            f"{config} is a {name[:60]}, and checkpoints are read of {', '.join(PIPELINES)}: give "
            "the folder of one of those."
        )
    pickles = [p for p in folder.rglob("*") if p.suffix in PICKLE_SUFFIXES]
    if pickles:
        raise ModelError(
            f"{pickles[0]} is a pickle, which can run code when it is opened: remove it from the "
            "folder first."
        )
    return folder, getattr(diffusers, name)
