"""Concept ablation: on samples of the anchor, the concept is predicted as the anchor is."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic.dataclasses import dataclass

from efface.methods.base import LossTerms, StepContext, per_sample_sum
from efface.methods.on_samples import OnSamples


@dataclass(frozen=True, kw_only=True)
class ConceptAblation(OnSamples):
    """|eps_theta(x_t, c) - sg eps_theta(x_t, c')|^2 with c' the anchor, x_t on the anchor's path.

    The model-based variant of Kumari et al. (ICCV 2023, arXiv 2303.13516, eq. 4), whose teacher is
    the current model. x_t is where `partial_steps` DDIM steps of the original model under c' arrive
    from noise at a uniform t, in place of a set of noised samples of the anchor. Nothing else is
    retained. The loss is summed over pixels and averaged over rows.
    """

    title: ClassVar[str] = "concept ablation"
    summary: ClassVar[str] = "predicts the anchor's samples alike: data-free (baseline)"
    as_published: ClassVar[Mapping[str, Any]] = {
        "train.steps": 100,
        "train.batch_size": 8,
        "train.learning_rate": 1.6e-5,
        "train.weight_decay": 0.01,
        "train.ema_decay": 0.0,
    }

    def loss(self, phase: str, ctx: StepContext) -> LossTerms:
        student, side = ctx.networks["student"], ctx.batch.forget
        t, x_t = self.sample_path(ctx, side.target)
        with torch.no_grad():
            target = student(x_t, t, side.target).eps
        losses = per_sample_sum((student(x_t, t, side.condition).eps - target).square())
        return LossTerms(retain=losses.new_zeros(()), forget=losses.mean())
