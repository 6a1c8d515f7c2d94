"""Redirection: data-free forgetting that keeps the model's own sampler."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from efface.diffusion.denoiser import Denoiser
from efface.diffusion.sampling import OneStep, denoise_to, first_timestep
from efface.methods.base import LossTerms, Method, Share, StepContext, Subject, per_sample_sum
from efface.methods.conditions import (
    by_side,
    choose_target,
    guide_teacher,
    replacement_directions,
)


@dataclass(frozen=True, kw_only=True)
class Redirection(Method):
    """Regression on the teacher's prediction for another condition, on the student's own path.

    || eps_theta(x_t, t, c) - eps_phi(x_t, t, c') ||^2 with c' the replacement in forget rows and c
    itself in retained rows; x_t is where `partial_steps` DDIM steps of the student under c arrive
    from noise, at a uniform t. Concept ablation (Kumari et al., ICCV 2023, eq. 4) regresses on the
    model itself at noised samples, ESD (Gandikota et al., ICCV 2023, eq. 7) on negative guidance.
    The loss is summed over pixels and averaged over the rows of a side.
    """

    partial_steps: int = Field(
        default=8, ge=1, le=100, description="DDIM steps of the student from noise to x_t."
    )
    forget_share: Share = Field(default=1.0, description="Forget rows per retained row.")
    forget_weight: float = Field(
        default=1.0, ge=0, le=1e6, description="Weight of forget rows in the loss."
    )
    teacher_guidance: float = Field(
        default=1.0, ge=0, le=1e3, description="Guidance of the teacher in forget rows; 1 is none."
    )

    title: ClassVar[str] = "Redirection"
    summary: ClassVar[str] = "regression on another condition: data-free, the sampler is kept"
    forgets: ClassVar[frozenset[Subject]] = frozenset({"conditions"})
    reads_negative: ClassVar[bool] = True
    train_defaults: ClassVar[Mapping[str, Any]] = {
        "learning_rate": 1e-5,
        "steps": 1000,
        "ema_decay": 0.99,
    }

    def networks(self, pretrained: Denoiser) -> dict[str, Denoiser]:
        if self.guided("teacher"):
            pretrained.require_null()
        return {"teacher": pretrained.frozen(), "student": pretrained.clone()}

    def passes(self, phase: str, network: str, retain: int, forget: int) -> tuple[int, ...]:
        return (retain + forget,) if network == "student" else ()

    def guided(self, network: str) -> bool:
        return network == "teacher" and self.teacher_guidance != 1.0

    @property
    def guides_teacher(self) -> bool:
        return self.teacher_guidance > 1.0

    def prepare(self, contexts: Iterator[StepContext]) -> dict[str, Tensor]:
        ctx = next(contexts)
        return replacement_directions(ctx, OneStep(first_timestep(ctx.networks["teacher"])))

    def loss(self, phase: str, ctx: StepContext) -> LossTerms:
        teacher, student = ctx.networks["teacher"], ctx.networks["student"]
        condition, z = ctx.batch.condition, ctx.rng.normal(student.sample_shape)
        target = choose_target(ctx, ctx.batch.target, z)
        with torch.no_grad():
            t = ctx.rng.integers(0, first_timestep(student) + 1)
            x_t = denoise_to(t, student, z, condition, self.partial_steps)
            guidance = guide_teacher(ctx, target, self.teacher_guidance, retained=1.0)
            eps_target = teacher(x_t, t, target, *guidance).eps
        losses = per_sample_sum((student(x_t, t, condition).eps - eps_target).square())
        return by_side(ctx, losses, self.forget_weight)
