"""What a run builds upon: the request that made its model, and the run that it starts from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from efface.config import Settings
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.model_folder import ModelInfo
from efface.errors import RequestError
from efface.methods.base import Method
from efface.records import hash_weights, read_record
from efface.training.checkpoint import Checkpoints, read_tensors


def earlier_request(info: ModelInfo) -> dict[str, Any] | None:
    """The earlier request, where the model is the output of one."""
    folder = info.folder.parent
    if info.folder.name != "pipeline" or not (folder / "record.json").exists():
        return None
    earlier = read_record(folder)
    if earlier.request.get("kind") == "train":
        return None
    return {"request": earlier.request, "output": earlier.output, "start": earlier.start}


def describe_start(start: str | Path, info: ModelInfo, settings: Settings) -> dict[str, Any]:
    """What the record says of the run to start from; RequestError where it cannot be."""
    start = Path(start)
    earlier = read_record(start)
    if earlier.model["weights"] != hash_weights(info.folder):
        raise RequestError(
            f"{start} was made from another model than {info.source}: start from a run of this "
            "very model."
        )
    if Checkpoints(start / "checkpoints").latest() is None or earlier.status != "finished":
        raise RequestError(f"{start} is not finished: complete it with --resume first.")
    theirs = earlier.settings["method"]
    if theirs["name"] != settings.method_name:
        raise RequestError(
            f"{start} is a run of the method {theirs['name']!r}, and this one of "
            f"{settings.method_name!r}: start from a run of the same method, as of `efface distil`."
        )
    for name in settings.method.inherited:
        now = getattr(settings.method, name)
        if theirs.get(name, now) != now:
            raise RequestError(
                f"{start} was trained with method.{name} {theirs[name]!r}, and this run is set to "
                f"{now!r}: give both the same."
            )
    own, train = settings.train, earlier.settings["train"]
    theirs = train.get("lora_rank"), train.get("lora_alpha")
    if theirs != (own.lora_rank, own.lora_alpha):
        raise RequestError(
            f"{start} was trained with train.lora_rank {theirs[0]} and train.lora_alpha "
            f"{theirs[1]}, and this run is set to {own.lora_rank} and {own.lora_alpha}: give both "
            "the same."
        )
    return {"request": earlier.request, "output": earlier.output}


def start_from(networks: Mapping[str, Denoiser], start: str | Path, method: Method) -> None:
    """Two-stage: the average of what was delivered, the rest raw; the teacher stays the same."""
    folder = Checkpoints(Path(start) / "checkpoints").latest()
    assert folder is not None  # describe_start checked it
    for name in method.phases:
        tensors = read_tensors(folder, "average" if name == method.delivers else name)
        networks[name].network.load_state_dict(tensors)
