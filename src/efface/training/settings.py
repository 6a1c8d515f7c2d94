"""Settings of the loop."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MOST_STEPS = 1_000_000_000
Steps = Annotated[int, Field(ge=1, le=MOST_STEPS)]
Every = Annotated[int, Field(ge=0, le=MOST_STEPS)]  # 0 is never
Rows = Annotated[int, Field(ge=1, le=1_000_000)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Rate = Annotated[float, Field(ge=0, le=10)]
Clip = Annotated[float | None, Field(gt=0, le=1e9)]


class TrainSettings(BaseModel):
    """Settings of the loop, addressed as `train.NAME`; a method brings its own defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    steps: Steps = Field(default=1000, description="Training steps.")
    batch_size: Rows = Field(
        default=128, description="Retained rows of one step, over all processes and accumulation."
    )
    accumulation: Rows = Field(
        default=1, description="Equal parts of a batch that pass the network in turn."
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="Seed of batches, noise and dropout.")
    learning_rate: Rate = Field(default=1e-4, description="Learning rate of AdamW.")
    learning_rate_schedule: Literal["constant", "cosine"] = Field(
        default="constant", description="How the learning rate goes on after the warm-up."
    )
    warmup_steps: Every = Field(
        default=0, description="Steps in which the learning rate rises linearly."
    )
    beta1: Decay = Field(default=0.9, description="Decay of AdamW's first moment.")
    beta2: Decay = Field(default=0.999, description="Decay of AdamW's second moment.")
    weight_decay: Rate = Field(default=0.0, description="Weight decay of AdamW.")
    clip_value: Clip = Field(
        default=None, description="Largest absolute value of a gradient's element."
    )
    clip_norm: Clip = Field(default=None, description="Largest L2 norm of a network's gradient.")
    ema_decay: Decay = Field(
        default=0.9999, description="Decay of the moving average of weights, which is the result."
    )
    ema_ramp: bool = Field(
        default=False,
        description="Let the decay rise from 0.1, so that early averages follow the weights.",
    )
    mixed_precision: Literal["no", "bf16"] = Field(
        default="no", description="Precision of the passes; weights and losses stay float32."
    )
    gradient_checkpointing: bool = Field(
        default=False,
        description="Recompute activations in the backward pass, which takes less memory.",
    )
    lora_rank: int | None = Field(
        default=None,
        ge=1,
        le=65_536,
        description="Rank of the adapters; none trains whole networks.",
    )
    lora_alpha: float | None = Field(
        default=None,
        gt=0,
        le=1e6,
        description="Adapters are scaled by alpha / rank; none scales by 1.",
    )
    base_dtype: Literal["float32", "bfloat16"] = Field(
        default="float32", description="Precision of the frozen base; adapters stay float32."
    )
    ignore_memory: bool = Field(
        default=False, description="Go on where the estimate of memory exceeds what is free."
    )
    channels_last: bool = Field(
        default=False, description="Hold networks in the channels-last layout."
    )
    compile: bool = Field(default=False, description="Compile the networks with torch.compile.")
    checkpoint_every: int | None = Field(
        default=None,
        ge=1,
        le=MOST_STEPS,
        description="Steps between checkpoints; none writes one every two minutes.",
    )
    guard_every: Every = Field(
        default=0, description="Steps between checks for collapse; 0 checks never."
    )
    guard_tolerance: float = Field(
        default=0.1,
        gt=0,
        le=1e6,
        description="Rise of the energy distance that counts as collapse.",
    )
    stop_every: Every = Field(
        default=0,
        description="Steps between checks whether enough is forgotten; 0 makes all steps.",
    )
    stop_by: Literal["loss", "likelihood"] = Field(
        default="loss",
        description="Measure by which images to forget are compared with unseen ones.",
    )
    log_every: Steps = Field(default=10, description="Steps between lines of the log.")

    @model_validator(mode="after")
    def _check_adapters(self) -> Self:
        for name, unset in (("lora_alpha", None), ("base_dtype", "float32")):
            value = getattr(self, name)
            if self.lora_rank is None and value != unset:
                raise ValueError(
                    f"train.{name} is {value!r}, which is about adapters over a frozen base: set "
                    f"train.lora_rank too, or leave train.{name} out."
                )
        return self

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of step `step`, counted from 0."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        if self.learning_rate_schedule == "constant":
            return self.learning_rate
        share = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * share))
