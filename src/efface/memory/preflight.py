"""Whether a run fits into memory, estimated before anything is loaded."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from accelerate import Accelerator

from efface.diffusion.model_folder import ModelInfo, inspect_model
from efface.errors import ConfigError
from efface.memory.advice import advise
from efface.memory.estimate import NOTHING_MORE, Amounts, estimate, readable
from efface.memory.live import Device
from efface.settings.reading import DEFAULT_RECIPES, Settings, read_settings


@dataclass(frozen=True, kw_only=True)
class Preflight:
    """`rows` of a table: what each part of a run takes, and what there is.

    `shortage` says what to change, None where the run is expected to fit.
    """

    rows: list[tuple[str, str]]
    shortage: str | None


def preflight(
    model: str | Path,
    method: str | None = None,
    recipe: Path | None = None,
    changes: Iterable[str] = (),
    size: int | None = None,
) -> Preflight:
    """What a run would take; of text-to-image models one about a concept, or about a picture.

    Its prompts are not known, and not counted. Raises an EffaceError.
    """
    info = inspect_model(model, size=size)
    text = info.family is not None
    settings = read_settings(method, recipe, changes, list(DEFAULT_RECIPES) if text else [])
    pictures = text and "forget_images" in settings.method.needs
    amounts = Amounts(prepared=pictures, searched=pictures)
    device = Accelerator().device
    said, available = estimate(info, settings, amounts, _kind(device)), available_memory(device)
    rows = [
        *((name, size) for name, size in said.parts.items() if size),
        ("while it trains", sum(said.parts.values())),
        ("while it is measured", sum(said.evaluation.values())),
        ("text encoders, until all prompts are encoded", said.encoders),
        *([("before it trains", said.loaded)] if pictures else []),
        ("at most", said.peak),
        (f"free on {device}", available),
    ]
    return Preflight(
        rows=[(name, readable(size)) for name, size in rows],
        shortage=_shortage(info, settings, device, amounts, available),
    )


def check_memory(
    info: ModelInfo, settings: Settings, device: torch.device, amounts: Amounts = NOTHING_MORE
) -> None:
    """Raise ConfigError, with what to change, if a run is not expected to fit."""
    if settings.train.ignore_memory:
        return
    if device.type == "cpu":
        # The encoder keeps its rows there too.
        amounts = dataclasses.replace(amounts, prompts=2 * amounts.prompts)
    available = available_memory(device, amounts.processes)
    shortage = _shortage(info, settings, device, amounts, available)
    if shortage is not None:
        raise ConfigError(shortage)


def _shortage(
    info: ModelInfo,
    settings: Settings,
    device: torch.device,
    amounts: Amounts,
    available: int,
) -> str | None:
    """What to change where a run needs more than is available."""
    kind = _kind(device)
    needed = estimate(info, settings, amounts, kind).peak
    if needed <= available:
        return None
    return (
        f"this run needs about {readable(needed)} by estimate, and {readable(available)} are "
        f"free on {device}: {advise(info, settings, available, amounts, kind)}, or "
        "go on nevertheless with train.ignore_memory=true."
    )


def available_memory(device: torch.device, processes: int = 1) -> int:
    """Bytes free for one process: of the GPU, or its share of what the machine has left."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available // processes


def _kind(device: torch.device) -> Device:
    return "cuda" if device.type == "cuda" else "cpu"
