"""Ordinary training of a diffusion model: how the shipped models were made."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from efface.methods.base import LossTerms, Method, Need, Share, StepContext


@dataclass(frozen=True, kw_only=True)
class Denoising(Method):
    """Denoising training on retained images (Ho et al., 2020, eq. 14).

    The squared error of the model's own kind of prediction, mean over pixels and batch, at
    timesteps uniform over the schedule.
    """

    condition_dropout: Share = Field(
        default=0.1, description="Share of rows trained without a condition, for guidance."
    )

    title: ClassVar[str] = "denoising training"
    summary: ClassVar[str] = (
        "ordinary training or fine-tuning on images, to make a model to start from"
    )
    needs: ClassVar[frozenset[Need]] = frozenset({"images"})
    train_defaults: ClassVar[Mapping[str, Any]] = {
        "learning_rate": 2e-3,
        "learning_rate_schedule": "cosine",
        "beta1": 0.9,
        "clip_value": None,
        "clip_norm": 1.0,
        "ema_decay": 0.999,
        "ema_ramp": True,
    }

    def loss(self, phase: str, ctx: StepContext) -> LossTerms:
        student, side = ctx.networks[phase], ctx.batch.retain
        assert side.x0 is not None  # `needs` says so
        condition = side.condition
        if condition is not None and self.condition_dropout > 0:
            dropped = ctx.rng.uniform() < self.condition_dropout
            condition = condition.where(dropped, student.null(condition))
        t = ctx.rng.integers(0, student.schedule.num_timesteps)
        eps = ctx.rng.normal(student.sample_shape)
        x_t = student.schedule.add_noise(side.x0, eps, t)
        output = student(x_t, t, condition).output
        return LossTerms(retain=(output - student.target(side.x0, eps, t)).square().mean())
