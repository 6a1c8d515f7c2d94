"""NegGrad: gradient ascent on what must go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from efface.methods.base import LossTerms, StepContext, per_sample_sum
from efface.methods.image_method import ImageMethod


@dataclass(frozen=True, kw_only=True)
class NegGrad(ImageMethod):
    """-weight L_A alone: forgets by ascent and holds nothing back (baseline; it collapses)."""

    weight: float = 1.0

    one_row_per_pair: ClassVar[bool] = True
    summary: ClassVar[str] = "gradient ascent on the images to forget (baseline)"

    def loss(self, phase: str, ctx: StepContext) -> LossTerms:
        student, pairs = ctx.networks[phase], self.pairs(ctx)
        eps = pairs.eps_theta(student, pairs.noised(pairs.a))
        losses = per_sample_sum((eps - pairs.eps).square())
        forget = (losses * pairs.in_window).mean()
        return LossTerms(retain=forget.new_zeros(()), forget=-self.weight * forget)
