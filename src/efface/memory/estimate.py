"""What a run takes in memory, by its configurations alone."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import diffusers
from torch import nn

from efface.diffusion.denoiser import ClassDenoiser
from efface.diffusion.model_folder import ModelInfo
from efface.diffusion.sampling import rows_of
from efface.diffusion.schedule import NoiseSchedule
from efface.memory.footprint import (
    Footprint,
    Holding,
    drawing_footprint,
    network_footprint,
    parts_footprint,
)
from efface.memory.live import Device
from efface.methods.base import Method
from efface.requests.memorised.embedding_descent import WEIGHT as DESCENT_WEIGHT
from efface.requests.memorised.text_noise import AT_ONCE as NORMS_AT_ONCE
from efface.settings.reading import Settings
from efface.training.settings import TrainConfig

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


def _descent(info: ModelInfo, holding: Holding, noises: int) -> int:
    """A backward pass to the embedding, through weights that are frozen."""
    foot = network_footprint(info, dataclasses.replace(holding, checkpointing=False, autocast=None))
    rows = rows_of(foot.shape, noises, DESCENT_WEIGHT)
    own = foot.activations_frozen
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


def readable(size: int) -> str:
    """Bytes in the unit that suits them: 12.3 GB."""
    power = min(len(UNITS) - 1, max(0, int(math.log(max(1, size), 1000))))
    return f"{size / 1000**power:.3g} {UNITS[power]}"
