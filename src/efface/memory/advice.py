"""Which settings make a run fit into memory: the fewest that do."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Iterator

from efface.diffusion.model_folder import ModelInfo
from efface.errors import ConfigError
from efface.memory.estimate import Amounts, estimate, readable
from efface.memory.live import Device
from efface.settings.reading import Settings

SUGGESTED_RANK = 16
FEW = 4  # samples at once
Value = bool | int | str | tuple[str, ...]
Changes = dict[str, Value]  # settings by section and name


def advise(
    info: ModelInfo, settings: Settings, available: int, amounts: Amounts, device: Device
) -> str:
    """The fewest changes that make the run fit, and of accumulation no more than it takes."""
    least = None
    for changes in _combinations(settings, amounts):
        own = changed(settings, changes)
        try:
            needed = estimate(info, own, amounts, device).peak
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
        values["train.accumulation"] = list(accumulations(parts, config.accumulation))
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


def accumulations(parts: int, now: int) -> Iterator[int]:
    """Powers of two above `now` that divide `parts`, and `parts` where none is left."""
    power = 1
    while parts % power == 0 and power < parts:
        if power > now:
            yield power
        power *= 2
    yield parts


def changed(settings: Settings, changes: Changes) -> Settings:
    for name, value in changes.items():
        section, _, key = name.partition(".")
        own = dataclasses.replace(getattr(settings, section), **{key: value})
        settings = dataclasses.replace(settings, **{section: own})
    return settings


def _written(value: Value) -> str:
    return json.dumps(value) if isinstance(value, tuple) else str(value).lower()
