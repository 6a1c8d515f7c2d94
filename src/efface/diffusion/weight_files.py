"""Checks files of weights by their names, sizes and headers, before any is loaded (no torch)."""

from __future__ import annotations

import json
import struct
from fnmatch import fnmatch
from pathlib import Path

from efface.errors import ModelError

PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
OTHER_VARIANTS = ["*.fp16.*", "*.fp16-*", "*.non_ema.*", "*.non_ema-*"]
LORA_FILES = ("pytorch_lora_weights.safetensors", "adapter_config.json")


def check_weights(folder: Path, on_hub: bool = False) -> None:
    """Raise ModelError unless `folder` holds whole safetensors files (headers against sizes)."""
    files = sorted(folder.glob("*.safetensors"))
    if not files and on_hub:
        raise ModelError(
            f"{folder.name} of this model holds no weights on the hub that are fetched: plain "
            ".safetensors alone are, no variants as fp16 and no pickles. Convert it, and give the "
            "folder."
        )
    if not files:
        pickles = [p.name for p in folder.glob("*") if p.suffix in PICKLE_SUFFIXES]
        if pickles:
            raise ModelError(
                f"{folder} holds {pickles[0]}, a pickle, which can run code when it is opened: "
                "only safetensors are read. Save the model with safe_serialization=True."
            )
        raise ModelError(f"{folder} holds no weights: a .safetensors file is needed.")
    for file in files:
        _check_header(file)
    if all(any(fnmatch(file.name, other) for other in OTHER_VARIANTS) for file in files):
        raise ModelError(
            f"{folder} holds {files[0].name} and no plain weights: efface trains from full "
            "precision. Download that too, or load the pipeline with variant= and "
            "dtype=torch.float32 and save it."
        )


def refuse_lora(folder: Path) -> None:
    """Raise ModelError for a folder of LoRA weights alone."""
    found = [name for name in LORA_FILES if (folder / name).exists()]
    if found and not (folder / "model_index.json").exists():
        raise ModelError(
            f"{folder} holds a LoRA ({found[0]}), no whole model: give the base model that it was "
            "made for."
        )


def _check_header(file: Path) -> None:
    size = file.stat().st_size
    with file.open("rb") as stream:
        head = stream.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else size
        if length > size - 8:
            raise ModelError(
                f"{file} is truncated or no safetensors file: copy or download it again."
            )
        try:
            header = json.loads(stream.read(length))
            end = max(
                (t["data_offsets"][1] for n, t in header.items() if n != "__metadata__"), default=0
            )
        except (ValueError, TypeError, LookupError, AttributeError):
            raise ModelError(
                f"{file} is no safetensors file: save the model as safetensors."
            ) from None
    if size != 8 + length + end:
        raise ModelError(
            f"{file} is truncated: {size} bytes where its header promises {8 + length + end}. "
            "Copy or download it again."
        )
