"""Settings of the loop."""

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

    steps: Steps = 1000
    """Training steps."""
    batch_size: Rows = 128
    """Retained rows of one step, over all processes and accumulation."""
    accumulation: Rows = 1
    """Equal parts of a batch that pass the network in turn."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Seed of batches, noise and dropout."""
    learning_rate: Rate = 1e-4
    """Learning rate of AdamW."""
    learning_rate_schedule: Literal["constant", "cosine"] = "constant"
    """How the learning rate goes on after the warm-up."""
    warmup_steps: Every = 0
    """Steps in which the learning rate rises linearly."""
    beta1: Decay = 0.9
    """Decay of AdamW's first moment."""
    beta2: Decay = 0.999
    """Decay of AdamW's second moment."""
    weight_decay: Rate = 0.0
    """Weight decay of AdamW."""
    clip_value: Clip = None
    """Largest absolute value of a gradient's element."""
    clip_norm: Clip = None
    """Largest L2 norm of a network's gradient."""
    ema_decay: Decay = 0.9999
    """Decay of the moving average of weights, which is the result."""
    ema_ramp: bool = False
    """Let the decay rise from 0.1, so that early averages follow the weights."""
    mixed_precision: Literal["no", "bf16"] = "no"
    """Precision of the passes; weights and losses stay float32."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass, which takes less memory."""
    lora_rank: int | None = Field(default=None, ge=1, le=65_536)
    """Rank of the adapters; none trains whole networks."""
    lora_alpha: float | None = Field(default=None, gt=0, le=1e6)
    """Adapters are scaled by alpha / rank; none scales by 1."""
    base_dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the frozen base; adapters stay float32."""
    ignore_memory: bool = False
    """Go on where the estimate of memory exceeds what is free."""
    channels_last: bool = False
    """Hold networks in the channels-last layout."""
    compile: bool = False
    """Compile the networks with torch.compile."""
    checkpoint_every: int | None = Field(default=None, ge=1, le=MOST_STEPS)
    """Steps between checkpoints; none writes one every two minutes."""
    guard_every: Every = 0
    """Steps between checks for collapse; 0 checks never."""
    guard_tolerance: float = Field(default=0.1, gt=0, le=1e6)
    """Rise of the energy distance that counts as collapse."""
    stop_every: Every = 0
    """Steps between checks whether enough is forgotten; 0 makes all steps."""
    stop_by: Literal["loss", "likelihood"] = "loss"
    """Measure by which images to forget are compared with unseen ones."""
    log_every: Steps = 10
    """Steps between lines of the log."""

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
