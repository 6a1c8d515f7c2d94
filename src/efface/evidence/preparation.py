"""What a run about a memorised picture was prepared with, as far as its figures need it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from efface.diffusion.denoiser import Condition
from efface.errors import DataError
from efface.evidence.manifest import ModifiedPrompt, Preparation, as_json, parse_member
from efface.requests.memorised.searching import Tried
from efface.requests.memorised.stages import Modified, read_prepared

RECORD, TENSORS = "preparation.json", "preparation.safetensors"
REFERENCE, ASKED = "reference", "condition."  # names of tensors; the condition's follow the latter


@dataclass(frozen=True, eq=False, kw_only=True)
class Prepared:
    """What tells copies, and the modified prompt, as an evaluation reads them."""

    reference: Tensor  # the memorised picture, (C, H, W) in [0, 1]
    threshold: float  # similarity from which a picture is a copy
    modified: Modified


def pack_preparation(run: Path) -> dict[str, bytes]:
    """`preparation.json` and `preparation.safetensors` of a finished run, for its pack.

    Pictures that were drawn for the prompt and for control prompts, and prompts that were tried
    and not taken, are left out. DataError where `preparation/` of the run is not whole.
    """
    try:
        detected, modified = read_prepared(run)
        tried = modified.tried
        record = Preparation(
            threshold=detected.detection.threshold,
            modified=ModifiedPrompt(
                way=tried.way,
                text=tried.text,
                weight=tried.weight,
                norm=tried.norm,
                copies=tried.copies,
                images=tried.images,
            ),
            tried=modified.count,
        )
    except (ValidationError, TypeError, LookupError) as error:
        raise DataError(
            f"{run / 'preparation'} is not what efface writes: restore it, or run again."
        ) from error
    asked = {f"{ASKED}{name}": tensor for name, tensor in modified.condition.tensors.items()}
    tensors = {REFERENCE: detected.reference, **asked}
    content = save({name: tensor.contiguous() for name, tensor in tensors.items()})
    return {RECORD: as_json(record), TENSORS: content}


def find_preparation(files: Mapping[str, bytes], folder: str) -> Prepared | None:
    """What a run of a pack was prepared with; None where the pack holds nothing of it.

    Anybody may have written it: DataError unless the picture is (C, H, W) float32 in [0, 1] and
    the condition of the modified prompt has one finite row.
    """
    names = [f"{folder}/{name}" for name in (RECORD, TENSORS)]
    if not any(name in files for name in names):
        return None
    record = parse_member(Preparation, files, names[0])
    if names[1] not in files:
        raise DataError(f"{names[1]} is missing.")
    try:
        tensors = load(files[names[1]])
    except (SafetensorError, ValueError, LookupError, TypeError, RuntimeError) as error:
        raise DataError(f"{names[1]} is no file of tensors: make the pack anew.") from error
    reference = tensors.pop(REFERENCE, None)
    asked = {name.removeprefix(ASKED): tensor for name, tensor in tensors.items()}
    if reference is None or not _is_picture(reference) or not asked:
        raise DataError(f"{names[1]} holds no picture or no prompt: make the pack anew.")
    if not all(tensor.ndim > 0 and len(tensor) == 1 for tensor in asked.values()):
        raise DataError(f"{names[1]} holds another number of prompts than one.")
    if not all(tensor.isfinite().all() for tensor in asked.values()):
        raise DataError(f"{names[1]} holds a prompt that is not finite.")
    modified = Modified(
        tried=Tried(**record.modified.model_dump()),
        condition=Condition(asked),
        count=record.tried,
    )
    return Prepared(reference=reference, threshold=record.threshold, modified=modified)


def _is_picture(tensor: Tensor) -> bool:
    if tensor.ndim != 3 or tensor.dtype != torch.float32 or tensor.numel() == 0:
        return False
    return bool(((tensor >= 0) & (tensor <= 1)).all())  # false of NaN too
