"""Settings of the loop."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from efface.errors import ConfigError
from efface.training.tracking import Tracker


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of the loop, addressed as `train.NAME`; a method brings its own defaults."""

    steps: int = 1000
    batch_size: int = 128  # retained rows of one step, over all processes and accumulation
    accumulation: int = 1
    seed: int = 0
    learning_rate: float = 1e-4
    learning_rate_schedule: Literal["constant", "cosine"] = "constant"
    warmup_steps: int = 0
    beta1: float = 0.9
    beta2: float = 0.999
    adam_eps: float = 1e-8
    weight_decay: float = 0.0
    clip_value: float | None = None  # element-wise
    clip_norm: float | None = None  # L2, over all parameters of a network
    ema_decay: float = 0.9999
    ema_ramp: bool = False
    mixed_precision: Literal["no", "bf16"] = "no"  # weights and losses stay float32
    gradient_checkpointing: bool = False
    lora_rank: int | None = None  # None: whole networks; else adapters of this rank over one base
    lora_alpha: float | None = None  # the adapters' output is scaled by alpha / rank; None: by 1
    base_dtype: Literal["float32", "bf16"] = "float32"  # of the frozen base; adapters stay float32
    ignore_memory: bool = False  # go on where the estimate of memory says that it is too little
    channels_last: bool = False
    compile: bool = False
    checkpoint_every: int = 1000
    guard_every: int = 0  # 0: no collapse guard
    guard_tolerance: float = 0.1
    stop_every: int = 0  # 0: all steps; else how often it is checked whether enough is forgotten
    stop_by: Literal["loss", "likelihood"] = "loss"  # in which unseen pictures are compared with
    log_every: int = 10
    tracker: Tracker = "none"

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulation", "checkpoint_every", "log_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"train.{name} is {getattr(self, name)}: give a number above 0.")
        if self.lora_rank is None and (self.lora_alpha is not None or self.base_dtype != "float32"):
            raise ConfigError(
                "train.lora_alpha and train.base_dtype are about adapters over a frozen base: set "
                "train.lora_rank too, or leave them out."
            )
        for name in ("lora_rank", "lora_alpha"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ConfigError(f"train.{name} is {value}: give a number above 0.")
        if not 0 <= self.ema_decay < 1:
            raise ConfigError(
                f"train.ema_decay is {self.ema_decay}: give a number from 0 to below 1."
            )
        if self.learning_rate <= 0 and self.learning_rate != 0:
            raise ConfigError(
                f"train.learning_rate is {self.learning_rate}: it cannot be negative."
            )

    def learning_rate_at(self, step: int) -> float:
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        if self.learning_rate_schedule == "constant":
            return self.learning_rate
        share = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * share))
