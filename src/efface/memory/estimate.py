"""What a run takes in memory, by its configurations alone."""

import math
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import diffusers
from torch import nn

from efface.diffusion.loading import build_denoiser
from efface.diffusion.model_folder import ModelInfo
from efface.memory.footprint import (
    Holding,
    Network,
    describe_network,
    describe_part,
    network_footprint,
    part_footprint,
    pass_footprint,
    sampling_footprint,
)
from efface.methods.base import Method
from efface.settings.base import Settings

UNITS = ("B", "KB", "MB", "GB", "TB")


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """Rows, prompts, and bytes that come and go beside what every run holds.

    `preparation` is held beside what is loaded before training begins; `models` are measured at
    once. `guided` are networks that are guided in some rows whatever the method says.
    """

    forget_rows: int  # of a whole batch
    prompts: int = 0  # held encoded
    preparation: int = 0
    models: int = 2
    guided: frozenset[str] = frozenset()


def forget_rows(settings: Settings) -> int:
    """Rows to forget in a whole batch, as many as the method takes."""
    return round(settings.method.forget_share * settings.train.batch_size)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Bytes that a run holds before it trains, while it trains and while it is evaluated."""

    before: dict[str, int]
    parts: dict[str, int]
    evaluation: dict[str, int]

    def peak(self, evaluated: bool) -> int:
        """The largest of the three, an evaluation where there is one."""
        stages = [self.before, self.parts, *([self.evaluation] if evaluated else [])]
        return max(sum(stage.values()) for stage in stages)


def estimate(
    model: ModelInfo, settings: Settings, amounts: Amounts, device: str = "cpu", processes: int = 1
) -> Estimate:
    """Memory of one process of a run, on a type of device.

    A retrained model, networks that measure samples, and what a guard, a stop or a method's
    pre-pass takes are not counted.
    """
    method, train = settings.method, settings.train
    network = describe_network(model)
    holding = Holding(
        lora_rank=train.lora_rank,
        bfloat16=train.base_dtype == "bfloat16",
        checkpointing=train.gradient_checkpointing,
        autocast=device if train.mixed_precision == "bf16" else None,
    )
    foot = network_footprint(network, holding)
    gradients = sum(2 if method.rule(phase).separate else 1 for phase in method.phases)
    # Where the model is on the CPU, what it encoded is there twice.
    prompts = amounts.prompts * (1 if device == "cuda" else 2)
    # Conditions of all parts of a batch at once, and of replacements.
    rows = train.batch_size + (2 if "conditions" in method.forgets else 1) * amounts.forget_rows
    vae = part_footprint(describe_part(model, "vae")) if model.vae else 0
    parts = {
        "pretrained network": foot.network,
        **dict.fromkeys((*method.phases, method.delivers), foot.copy),
        "averages": (2 if train.guard_every else 1) * foot.copy,
        "gradients": gradients * foot.trained,
        "optimizer": 2 * len(method.phases) * foot.trained,  # AdamW's two moments
        "VAE": vae,
        "encoded prompts": prompts * foot.condition,
        "activations": math.ceil(rows / processes) * foot.condition
        + _activations(network, settings, amounts, holding, processes),
    }
    evaluate = settings.evaluate
    bfloat16 = evaluate.dtype == "bfloat16"
    sampling = sampling_footprint(model, evaluate.batch_size, bfloat16, evaluate, device)
    measured = network_footprint(network, Holding(bfloat16=bfloat16)).network
    encoders = sum(part_footprint(describe_part(model, name)) for name in model.encoders)
    return Estimate(
        before={
            "pretrained network": foot.network,
            "VAE": vae,
            "text encoders": encoders,  # until all prompts are encoded
            "preparation": amounts.preparation,
        },
        parts=parts,
        evaluation={
            "evaluated networks": amounts.models * measured,
            "VAE of the evaluated networks": vae,
            "sampling": sampling,
        },
    )


def _activations(
    network: Network, settings: Settings, amounts: Amounts, holding: Holding, processes: int
) -> int:
    """What the passes of a phase keep, and the most that one network takes beside: its maximum."""
    method, train = settings.method, settings.train
    names, parts = _network_names(method), train.accumulation * processes
    taken = []
    for phase in method.phases:
        passes = []
        for name in names:
            given = method.passes(phase, name, train.batch_size, amounts.forget_rows)
            rows = tuple(math.ceil(count / parts) for count in given if count)
            gradient = "weights" if name in method.active(phase) else "inputs"
            guided = method.guided(name) or name in amounts.guided
            if rows:
                passes.append(pass_footprint(network, holding, rows, gradient, guided))
        taken.append(
            sum(own.kept for own in passes) + max((own.passing for own in passes), default=0)
        )
    return max(taken, default=0)


def _network_names(method: Method) -> list[str]:
    """Which networks a method has, asked of it with a network that does nothing."""
    nothing: Any = nn.Identity()
    nothing.config = SimpleNamespace(sample_size=1, in_channels=1)
    return list(method.networks(build_denoiser(nothing, diffusers.DDIMScheduler(), 1, 0)))


def readable(size: float) -> str:
    """Bytes in the unit that suits them: 12.3 GB."""
    power = min(len(UNITS) - 1, max(0, int(math.log(max(1, size), 1000))))
    return f"{size / 1000**power:.3g} {UNITS[power]}"
