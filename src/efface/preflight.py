"""Whether a run fits into memory, estimated before anything is loaded."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import diffusers
import psutil
import torch
from accelerate import Accelerator
from torch import nn

from efface.config import DEFAULT_RECIPES, Settings, read_settings
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
from efface.memorisation.text_noise import AT_ONCE as NORMS_AT_ONCE
from efface.methods.base import Method
from efface.training.settings import TrainConfig

SUGGESTED_RANK = 16
FEW = 4  # samples at once
UNITS = ("B", "KB", "MB", "GB", "TB")


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """What a run has much of: rows of a whole batch to forget (None: as many as its method takes).

    `prompts` are held encoded. What is `measured` afterwards is counted too, and what is `prepared`
    before: pictures of a memorised one's prompt and, where one is `searched` for, a descent.
    """

    forget_rows: int | None = None
    processes: int = 1
    prompts: int = 0
    measured: bool = True
    prepared: bool = False
    searched: bool = False

    def rows(self, settings: Settings) -> int:
        """Rows to forget in a whole batch."""
        if self.forget_rows is not None:
            return self.forget_rows
        return round(settings.method.forget_share * settings.train.batch_size)


NOTHING_MORE = Amounts()
Value = bool | int | str | tuple[str, ...]
Changes = dict[str, Value]  # settings by section and name


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Bytes that a run holds: `parts` while it trains, `encoders` until prompts are encoded.

    `preparation` comes and goes beside what is loaded, before it trains; `evaluation` is what is
    held when the result is measured.
    """

    parts: dict[str, int]
    encoders: int
    preparation: int
    evaluation: dict[str, int]

    @property
    def loaded(self) -> int:
        """Before it trains: encoding prompts, and what is prepared."""
        loaded = self.parts["pretrained network"] + self.parts["VAE"] + self.encoders
        return loaded + self.preparation

    @property
    def peak(self) -> int:
        """The largest of what comes before training, of training and of measuring."""
        return max(self.loaded, sum(self.parts.values()), sum(self.evaluation.values()))


def estimate(
    info: ModelInfo, settings: Settings, amounts: Amounts = NOTHING_MORE, device: Device = "cpu"
) -> Estimate:
    """Memory of a run in one process.

    A retrained model, networks that look, and what a guard or a stop draws are not counted.
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
    parts["activations"] = _conditions(settings, amounts) * foot.condition + max(
        _activations(settings, amounts, phase, names, foot) for phase in method.phases
    )
    return Estimate(
        parts=parts,
        encoders=encoders,
        preparation=_preparation(info, settings, amounts, device) if amounts.prepared else 0,
        evaluation=_evaluation(info, settings, amounts, device) if amounts.measured else {},
    )


def _preparation(info: ModelInfo, settings: Settings, amounts: Amounts, device: Device) -> int:
    """The largest of drawing, of text-noise norms and of a descent on an embedding."""
    config, evaluate = settings.memorised, settings.evaluate
    holding = _holding(settings.train, device)
    guided = evaluate.guidance != 1.0
    drawing = drawing_footprint(info, holding.bf16, evaluate.batch_size, guided)
    pictures = max(
        config.controls * config.control_images, config.samples, config.search_images, config.images
    )
    drawn = pictures * drawing.picture if device == "cpu" else 0
    # All pictures are there three times when they become bytes.
    passing = max(drawn + drawing.passing, drawn + drawing.decoding, 3 * drawn)
    takes = [pictures * drawing.condition + passing, _norms(info, holding.bf16)]
    if amounts.searched and "embedding" in config.search:
        takes.append(_descent(info, holding, config.noises))
    return max(takes)


def _norms(info: ModelInfo, bf16: bool) -> int:
    """Text-noise norms: many rows at once, without guidance."""
    drawing = drawing_footprint(info, bf16, NORMS_AT_ONCE, False)
    return drawing.rows * drawing.condition + drawing.passing


def _descent(info: ModelInfo, holding: Holding, rows: int) -> int:
    """A backward pass to the embedding; weights that are not frozen keep what theirs would need."""
    foot = network_footprint(info, dataclasses.replace(holding, checkpointing=False, autocast=None))
    own = foot.activations if holding.lora_rank is None else foot.activations_frozen
    return rows * (own.kept + own.passing + foot.condition)


def _evaluation(
    info: ModelInfo, settings: Settings, amounts: Amounts, device: Device
) -> dict[str, int]:
    """Result, untouched model and distilled generator, the VAE and what draws at once."""
    config = settings.evaluate
    bf16, guided = config.dtype == "bf16", config.guidance != 1.0
    drawing = drawing_footprint(info, bf16, config.batch_size, guided)
    asked = config.batch_size * drawing.condition
    # Pictures that are drawn already leave the GPU.
    drawn = (config.batch_size - drawing.rows) * drawing.picture if device == "cpu" else 0
    taken = asked + drawn + max(drawing.passing, drawing.decoding)
    return {
        "networks that are measured": (2 + (config.distilled is not None)) * drawing.network,
        "VAE of what is measured": parts_footprint(info)[0],
        "samples that are drawn": max(taken, _norms(info, bf16)) if amounts.prepared else taken,
    }


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
    for changes in _combinations(settings, amounts):
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


def _combinations(settings: Settings, amounts: Amounts) -> Iterator[Changes]:
    """Settings that save memory, few changes first, and less accumulation before more."""
    config = settings.train
    parts = math.gcd(config.batch_size, amounts.rows(settings)) // amounts.processes
    values: dict[str, list[Value]] = {}
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
    if amounts.searched and "embedding" in settings.memorised.search:
        values["memorised.search"] = [("tokens",)]
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


def _written(value: Value) -> str:
    return json.dumps(value) if isinstance(value, tuple) else str(value).lower()


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


def _conditions(settings: Settings, amounts: Amounts) -> int:
    """Conditions of a process's rows, all parts of them at once, and of what to draw instead."""
    asked = 2 if "conditions" in settings.method.needs else 1
    rows = settings.train.batch_size + asked * amounts.rows(settings)
    return math.ceil(rows / amounts.processes)


def _activations(
    settings: Settings, amounts: Amounts, phase: str, names: list[str], foot: Footprint
) -> int:
    """What all passes of one part keep, and the one backward pass that needs most beside it.

    A guided network passes every row twice.
    """
    method, config = settings.method, settings.train
    parts = config.accumulation * amounts.processes
    sides = config.batch_size, amounts.rows(settings)
    kept, passing = 0, 0
    for name in names:
        own = foot.activations if name in method.active(phase) else foot.activations_frozen
        times = 2 if _is_guided(settings, name) else 1
        passes = [times * math.ceil(n / parts) for n in method.passes(phase, name, *sides) if n]
        if passes:
            kept += sum(passes) * own.kept + own.copies_kept
            passing = max(passing, max(passes) * own.passing + own.copies_passing, own.cached)
    return kept + passing


def _is_guided(settings: Settings, name: str) -> bool:
    if name == "teacher" and (settings.prompts.nonsense or settings.prompts.forget_guidance):
        return True
    values = dataclasses.asdict(settings.method)  # pyright: ignore
    return any(
        key.startswith(name) and key.endswith("guidance") and value != 1.0
        for key, value in values.items()
    )
