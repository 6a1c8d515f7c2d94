"""Whether a run fits into memory, estimated before anything is loaded."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import diffusers
import psutil
import torch
from accelerate import Accelerator
from torch import nn

from efface.config import Settings, read_settings
from efface.diffusion.denoiser import ClassDenoiser
from efface.diffusion.footprint import (
    Footprint,
    Holding,
    drawing_footprint,
    network_footprint,
    parts_footprint,
)
from efface.diffusion.live_memory import Device
from efface.diffusion.model_folder import ModelInfo, inspect_model
from efface.diffusion.schedule import NoiseSchedule
from efface.errors import ConfigError
from efface.methods.base import Method
from efface.training.settings import TrainConfig

SUGGESTED_RANK = 16
FEW = 4  # samples at once
UNITS = ("B", "KB", "MB", "GB", "TB")


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """What a run has much of: rows of a whole batch to forget (None: as many as its method takes).

    `prompts` are held encoded. What is `measured` afterwards is counted too.
    """

    forget_rows: int | None = None
    processes: int = 1
    prompts: int = 0
    measured: bool = True

    def rows(self, settings: Settings) -> int:
        """Rows to forget in a whole batch."""
        if self.forget_rows is not None:
            return self.forget_rows
        return round(settings.method.forget_share * settings.train.batch_size)


NOTHING_MORE = Amounts()
Changes = dict[str, bool | int | str]  # settings by section and name


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Bytes that a run holds: `parts` while it trains, `encoders` until prompts are encoded.

    `evaluation` is what is held when the result is measured.
    """

    parts: dict[str, int]
    encoders: int
    evaluation: dict[str, int]

    @property
    def peak(self) -> int:
        """The largest of training, of encoding prompts and of measuring."""
        loaded = self.parts["pretrained network"] + self.parts["VAE"] + self.encoders
        return max(sum(self.parts.values()), loaded, sum(self.evaluation.values()))


def estimate(
    info: ModelInfo, settings: Settings, amounts: Amounts = NOTHING_MORE, device: Device = "cpu"
) -> Estimate:
    """Memory of a run in one process; activations as if every network passed gradients at once.

    What is drawn before training, a retrained model and networks that look are not counted.
    """
    method, config = settings.method, settings.train
    foot = network_footprint(info, _holding(config, device))
    vae, encoders = parts_footprint(info)
    names = _network_names(method)
    lora, phases = config.lora_rank is not None, len(method.phases)
    parts = {"pretrained network": foot.network}
    for name in names:
        copied = foot.trained if name in method.phases else 0
        parts[name] = copied if lora else foot.network
    gradients = sum(2 if method.rule(phase).separate else 1 for phase in method.phases)
    kept = foot.trained if lora else foot.network
    parts |= {
        "averages": (2 if config.guard_every else 1) * kept,
        "gradients": gradients * foot.trained,
        "optimizer": 2 * phases * foot.trained,  # AdamW's two moments
        "VAE": vae,
        "encoded prompts": amounts.prompts * foot.condition,
    }
    parts_of_batch = config.accumulation * amounts.processes
    rows = math.ceil((config.batch_size + amounts.rows(settings)) / parts_of_batch)
    parts["activations"] = max(
        _activations(settings, phase, names, foot, rows) for phase in method.phases
    )
    measured = _evaluation(info, settings, device) if amounts.measured else {}
    return Estimate(parts=parts, encoders=encoders, evaluation=measured)


def _evaluation(info: ModelInfo, settings: Settings, device: Device) -> dict[str, int]:
    """Result, untouched model and distilled generator, the VAE and what draws at once."""
    config = settings.evaluate
    bf16, guided = config.dtype == "bf16", config.guidance != 1.0
    drawing = drawing_footprint(info, bf16, config.batch_size, guided)
    asked = config.batch_size * drawing.condition
    # Pictures that are drawn already leave the GPU.
    drawn = (config.batch_size - drawing.rows) * drawing.picture if device == "cpu" else 0
    return {
        "networks that are measured": (2 + (config.distilled is not None)) * drawing.network,
        "VAE of what is measured": parts_footprint(info)[0],
        "samples that are drawn": asked + drawn + max(drawing.passing, drawing.decoding),
    }


def preflight(
    model: str | Path,
    method: str | None = None,
    recipe: Path | None = None,
    changes: Iterable[str] = (),
    size: int | None = None,
) -> list[tuple[str, str]]:
    """Rows of a table: what each part of a run takes, and what there is. Raises an EffaceError."""
    settings = read_settings(method, recipe, changes)
    device = Accelerator().device
    said = estimate(inspect_model(model, size=size), settings, device=_kind(device))
    return [
        *((name, readable(size)) for name, size in said.parts.items() if size),
        ("while it trains", readable(sum(said.parts.values()))),
        ("while it is measured", readable(sum(said.evaluation.values()))),
        ("text encoders, until all prompts are encoded", readable(said.encoders)),
        ("at most", readable(said.peak)),
        (f"free on {device}", readable(available_memory(device))),
    ]


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
    kind = _kind(device)
    needed = estimate(info, settings, amounts, kind).peak
    if needed > available:
        raise ConfigError(
            f"this run needs about {readable(needed)} by estimate, and {readable(available)} are "
            f"free on {device}: {_advice(info, settings, available, amounts, kind)}, or "
            "go on nevertheless with train.ignore_memory=true."
        )


def available_memory(device: torch.device, processes: int = 1) -> int:
    """Bytes free for one process: of the GPU, or its share of what the machine has left."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available // processes


def readable(size: int) -> str:
    """Bytes in the unit that suits them: 12.3 GB."""
    power = min(len(UNITS) - 1, max(0, int(math.log(max(1, size), 1000))))
    return f"{size / 1000**power:.3g} {UNITS[power]}"


def _kind(device: torch.device) -> Device:
    return "cuda" if device.type == "cuda" else "cpu"


def _advice(
    info: ModelInfo, settings: Settings, available: int, amounts: Amounts, device: Device
) -> str:
    """The fewest changes that make the run fit, and of accumulation no more than it takes."""
    least = None
    for changes in _combinations(settings, amounts.rows(settings), amounts.processes):
        changed = _changed(settings, changes)
        try:
            needed = estimate(info, changed, amounts, device).peak
        except ConfigError:  # a LoRA that finds nothing to change
            continue
        least = needed if least is None else min(least, needed)
        if needed <= available:
            text = " and ".join(f"{name}={_written(v)}" for name, v in changes.items())
            return f"with {text} it needs about {readable(needed)}"
    lowest = "" if least is None else f" below {readable(least)}"
    return f"no setting brings it{lowest}, so take a smaller model or a machine with more memory"


def _combinations(settings: Settings, forget_rows: int, processes: int) -> Iterator[Changes]:
    """Settings that save memory, few changes first, and less accumulation before more."""
    config = settings.train
    parts = math.gcd(config.batch_size, forget_rows) // processes
    values: dict[str, list[bool | int | str]] = {}
    if not config.gradient_checkpointing:
        values["train.gradient_checkpointing"] = [True]
    if parts > config.accumulation:
        values["train.accumulation"] = list(_accumulations(parts, config.accumulation))
    if config.lora_rank is None:
        values["train.lora_rank"] = [SUGGESTED_RANK]
    if config.base_dtype == "float32":
        values["train.base_dtype"] = ["bf16"]
    if settings.evaluate.batch_size > FEW:
        values["evaluate.batch_size"] = [FEW]
    if settings.evaluate.dtype == "float32":
        values["evaluate.dtype"] = ["bf16"]
    for count in range(1, len(values) + 1):
        for names in itertools.combinations(values, count):
            adapted = config.lora_rank is not None or "train.lora_rank" in names
            if "train.base_dtype" in names and not adapted:
                continue
            for chosen in itertools.product(*(values[name] for name in names)):
                yield dict(zip(names, chosen, strict=True))


def _accumulations(parts: int, now: int) -> Iterator[int]:
    """Powers of two above `now` that divide `parts`, and `parts` where none is left."""
    power = 1
    while parts % power == 0 and power < parts:
        if power > now:
            yield power
        power *= 2
    yield parts


def _changed(settings: Settings, changes: Changes) -> Settings:
    for name, value in changes.items():
        section, _, key = name.partition(".")
        own = dataclasses.replace(getattr(settings, section), **{key: value})
        settings = dataclasses.replace(settings, **{section: own})
    return settings


def _written(value: bool | int | str) -> str:
    return str(value).lower()


def _holding(config: TrainConfig, device: Device) -> Holding:
    return Holding(
        lora_rank=config.lora_rank,
        bf16=config.base_dtype == "bf16",
        checkpointing=config.gradient_checkpointing,
        autocast=device if config.mixed_precision == "bf16" else None,
    )


def _network_names(method: Method) -> list[str]:
    """Which networks a method has, asked of it with a network that does nothing."""
    scheduler = diffusers.DDIMScheduler()
    nothing = ClassDenoiser(
        network=nn.Identity(),
        schedule=NoiseSchedule.from_scheduler(scheduler),
        kind="epsilon",
        sample_shape=(1, 1, 1),
        scheduler=scheduler,
        num_classes=1,
        null_label=0,
    )
    return list(method.networks(nothing))


def _activations(
    settings: Settings, phase: str, names: list[str], foot: Footprint, rows: int
) -> int:
    """What all networks keep, and the one backward pass that needs most beside it.

    A guided network passes every row twice.
    """
    active = settings.method.active(phase)
    kept, passing = 0, 0
    for name in names:
        own = foot.activations if name in active else foot.activations_frozen
        times = rows * (2 if _is_guided(settings, name) else 1)
        kept += times * own.kept + own.copies_kept
        passing = max(passing, times * own.passing + own.copies_passing, own.cached)
    return kept + passing


def _is_guided(settings: Settings, name: str) -> bool:
    if name == "teacher" and (settings.prompts.nonsense or settings.prompts.forget_guidance):
        return True
    values = dataclasses.asdict(settings.method)  # pyright: ignore
    return any(
        key.startswith(name) and key.endswith("guidance") and value != 1.0
        for key, value in values.items()
    )
