"""Concept ablation: on samples of the anchor, the concept is predicted as the anchor is."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass

from efface.diffusion.denoiser import Denoiser
from efface.diffusion.sampling import denoise_to, first_timestep
from efface.methods.base import LossTerms, Method, StepContext, Subject, per_sample_sum


@dataclass(frozen=True, kw_only=True)
class ConceptAblation(Method):
    """|eps_theta(x_t, c) - sg eps_theta(x_t, c')|^2 with c' the anchor, x_t on the anchor's path.

    The model-based variant of Kumari et al. (ICCV 2023, arXiv 2303.13516, eq. 4), whose teacher is
    the current model. x_t is where `partial_steps` DDIM steps of the original model under c' arrive
    from noise at a uniform t, in place of a set of noised samples of the anchor. Nothing else is
    retained. The loss is summed over pixels and averaged over rows.
    """

    partial_steps: int = Field(
        default=8, ge=1, le=100, description="DDIM steps of the original model from noise to x_t."
    )

    title: ClassVar[str] = "concept ablation"
    summary: ClassVar[str] = "predicts the anchor's samples alike: data-free (baseline)"
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

    def loss(self, phase: str, ctx: StepContext) -> LossTerms:
        teacher, student = ctx.networks["teacher"], ctx.networks["student"]
        side, first = ctx.batch.forget, ctx.batch.retain.size
        z = ctx.rng.normal(student.sample_shape)[first:]
        t = ctx.rng.integers(0, first_timestep(student) + 1)[first:]
        with torch.no_grad():
            x_t = denoise_to(t, teacher, z, side.target, self.partial_steps)
            target = student(x_t, t, side.target).eps
        losses = per_sample_sum((student(x_t, t, side.condition).eps - target).square())
        return LossTerms(retain=losses.new_zeros(()), forget=losses.mean())
