"""NegGrad: gradient ascent on the forget set."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic.dataclasses import dataclass

from efface.methods.base import LossTerms, StepContext, Subject, per_sample_sum
from efface.methods.image_method import PUBLISHED, ImageMethod


@dataclass(frozen=True, kw_only=True)
class NegGrad(ImageMethod):
    """-L_A alone: forgets by ascent and retains nothing (baseline; it collapses)."""

    one_row_per_pair: ClassVar[bool] = True
    forgets: ClassVar[frozenset[Subject]] = frozenset({"conditions", "images"})
    title: ClassVar[str] = "NegGrad"
    summary: ClassVar[str] = "gradient ascent on the images to forget (baseline)"
    as_published: ClassVar[Mapping[str, Any]] = PUBLISHED
    repaired: ClassVar[str] = "EraseDiff's script of this name ascends on the images to keep"

    def loss(self, phase: str, ctx: StepContext) -> LossTerms:
        student, pairs = ctx.networks[phase], self.pairs(ctx)
        eps = pairs.forget_eps_theta(student, pairs.noised(pairs.a))
        losses = per_sample_sum((eps - pairs.eps).square())
        forget = (losses * pairs.in_window).mean()
        return LossTerms(retain=forget.new_zeros(()), forget=-forget)
