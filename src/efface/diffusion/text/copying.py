"""Copies a part of a pipeline that was not trained, its weights as plain files."""

import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from efface.diffusion.config_files import read_json
from efface.diffusion.weight_files import (
    DIFFUSERS,
    OTHER_VARIANTS,
    PICKLE_SUFFIXES,
    TRANSFORMERS,
    file_name,
    find_variant,
    index_name,
    names_in,
    plain_name,
    weights_wanted,
)
from efface.errors import ModelError

# Neither code nor pickles, and no second copy of the weights in another format.
LEFT_BEHIND = (*(f"*{s}" for s in PICKLE_SUFFIXES), *OTHER_VARIANTS, "*.py", "*.h5", "*.msgpack")
DTYPES = ("dtype", "torch_dtype")  # in which transformers reads weights, now and in older releases


def copy_part(source: Path, target: Path) -> None:
    """Copy a folder; weights that are there only as a variant are written as plain ones, float32.

    Raises ModelError where the folder is gone, and OSError.
    """
    if not source.is_dir():
        raise ModelError(
            f"{source} is gone, so that the pipeline cannot be written whole: put back the model "
            "that the run began with."
        )
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(*LEFT_BEHIND))
    for stem in (DIFFUSERS, TRANSFORMERS):
        variant = find_variant(str(source), stem, names_in(source))
        if variant is not None:
            _write_plain(source, target, stem, variant)


def _write_plain(source: Path, target: Path, stem: str, variant: str) -> None:
    places: dict[str, str] = {}
    size = 0
    for name in weights_wanted(source, stem, variant):
        plain, read = plain_name(name, variant), load_file(source / name)
        tensors = {k: t.float() if t.is_floating_point() else t for k, t in read.items()}
        save_file(tensors, target / plain, metadata={"format": "pt"})
        places |= dict.fromkeys(tensors, plain)
        size += sum(tensor.nbytes for tensor in tensors.values())
    (target / index_name(stem)).unlink(missing_ok=True)  # of plain shards that are not there
    if file_name(stem) not in places.values():
        index = {"metadata": {"total_size": size}, "weight_map": places}
        _write_json(target / index_name(stem), index)
    config = read_json(target / "config.json", "it describes a part of the model")
    _write_json(
        target / "config.json", config | {name: "float32" for name in DTYPES if name in config}
    )


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(f"{json.dumps(content, indent=2)}\n", encoding="utf-8")
