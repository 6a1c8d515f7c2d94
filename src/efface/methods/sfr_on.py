"""SFR-on: ascent on the weights that matter to the forget set, in turn with retain steps."""

import math
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from efface.methods.base import LossTerms, Method, Need, StepContext, Subject
from efface.methods.labelled import Noised, noise_sides
from efface.methods.saliency import denoising_loss, gradients, masked_gradient


@dataclass(frozen=True, kw_only=True)
class SFROn(Method):
    """Step 2k: -ascent_k mean(w_n l_n) under a mask; step 2k + 1: L_R.

    w_n = l_n^-power / mean(l^-power) weighs images whose loss is low, ascent_k falls along a
    cosine, and the mask holds the weights whose Fisher information on the forget set is at least
    that on the retain set (Huang et al., NeurIPS 2024, arXiv 2409.19732). Both steps share one
    optimizer, as published; so two steps of the run are one of the paper's.
    """

    ascent: float = Field(
        default=10.0, ge=0, le=1e6, description="Weight of the ascent at the start; published: 10."
    )
    power: float = Field(
        default=0.5, ge=0, le=10, description="How much low losses count; published: 0.5."
    )
    mask_batches: int = Field(
        default=20, ge=1, le=100_000, description="Batches whose gradients make the mask."
    )

    title: ClassVar[str] = "SFR-on"
    summary: ClassVar[str] = "masked ascent in turn with retain steps (baseline)"
    as_published: ClassVar[Mapping[str, Any]] = {
        "method.ascent": 10.0,
        "method.power": 0.5,
        "train.steps": 300,
        "train.batch_size": 128,
        "train.learning_rate": 1e-4,
        "train.clip_norm": 1.0,
        "train.ema_decay": 0.0,
    }
    repaired: ClassVar[str] = (
        "masks before gradients are cleared, in one of its modes, without effect"
    )
    forgets: ClassVar[frozenset[Subject]] = frozenset({"conditions"})
    needs: ClassVar[frozenset[Need]] = frozenset({"images"})
    forget_share: ClassVar[float] = 1.0
    train_defaults: ClassVar[Mapping[str, Any]] = {
        "learning_rate": 1e-4,
        "steps": 300,
        "batch_size": 128,
        "clip_value": None,
        "clip_norm": 1.0,
        "ema_decay": 0.9,
    }

    def passes(self, phase: str, network: str, retain: int, forget: int) -> tuple[int, ...]:
        return (max(retain, forget),)

    def prepare(self, contexts: Iterator[StepContext]) -> dict[str, Tensor]:
        forget: dict[str, Tensor] = {}
        retain: dict[str, Tensor] = {}
        for ctx in islice(contexts, self.mask_batches):
            for side, fisher in zip(noise_sides(ctx), (retain, forget), strict=True):
                _add_squares(ctx, side, fisher)
        return {name: forget[name] >= retain[name] for name in forget}

    def loss(self, phase: str, ctx: StepContext) -> LossTerms:
        student, (retain, forget) = ctx.networks[phase], noise_sides(ctx)
        if ctx.step % 2:
            return LossTerms(retain=denoising_loss(student, retain).mean())
        losses = denoising_loss(student, forget)
        weights = losses.detach().clamp_min(1e-12) ** -self.power
        ascent = self.ascent * (1 + math.cos(math.pi * ctx.step / ctx.steps)) / 2
        loss = -ascent * (weights / weights.mean() * losses).mean()
        return LossTerms(
            retain=loss.new_zeros(()), forget=masked_gradient(student, loss, ctx.prepared)
        )


def _add_squares(ctx: StepContext, side: Noised, fisher: dict[str, Tensor]) -> None:
    """Add the squares of a batch's gradient, clipped to norm 1, by the parameter's name."""
    student = ctx.networks["student"]
    found = gradients(student, denoising_loss(student, side).mean())
    norm = torch.nn.utils.get_total_norm(list(found.values())).clamp_min(1.0)
    for name, part in found.items():
        fisher[name] = fisher.get(name, torch.zeros_like(part)) + (part / norm).square()
