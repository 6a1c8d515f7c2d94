"""What data-free baselines share: they forget on the original model's own samples."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from efface.diffusion.denoiser import Condition, Denoiser
from efface.diffusion.sampling import denoise_to, first_timestep
from efface.methods.base import Method, StepContext, Subject


@dataclass(frozen=True, kw_only=True)
class OnSamples(Method):
    """Base of baselines that need no images and retain nothing."""

    partial_steps: int = Field(
        default=8, ge=1, le=100, description="DDIM steps of the original model from noise to x_t."
    )

    forgets: ClassVar[frozenset[Subject]] = frozenset({"conditions"})
    forget_share: ClassVar[float] = 1.0
    train_defaults: ClassVar[Mapping[str, Any]] = {
        "learning_rate": 1e-5,
        "steps": 1000,
        "ema_decay": 0.99,
    }

    def networks(self, pretrained: Denoiser) -> dict[str, Denoiser]:
        return {"teacher": pretrained.frozen(), "student": pretrained.clone()}

    def passes(self, phase: str, network: str, retain: int, forget: int) -> tuple[int, ...]:
        return (forget,) if network == "student" else ()

    @torch.no_grad()
    def sample_path(self, ctx: StepContext, condition: Condition | None) -> tuple[Tensor, Tensor]:
        """Rows to forget at a uniform t (B,) and where the original model is then, (B, C, H, W)."""
        teacher, first = ctx.networks["teacher"], ctx.batch.retain.size
        z = ctx.rng.normal(teacher.sample_shape)[first:]
        t = ctx.rng.integers(0, first_timestep(teacher) + 1)[first:]
        return t, denoise_to(t, teacher, z, condition, self.partial_steps)
