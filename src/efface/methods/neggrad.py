"""NegGrad: gradient ascent on the forget set."""

from typing import ClassVar

from pydantic.dataclasses import dataclass

from efface.methods.base import LossTerms, StepContext, Subject, per_sample_sum
from efface.methods.image_method import ImageMethod


@dataclass(frozen=True, kw_only=True)
class NegGrad(ImageMethod):
    """-L_A alone: forgets by ascent and retains nothing (baseline; it collapses)."""

    one_row_per_pair: ClassVar[bool] = True
    forgets: ClassVar[frozenset[Subject]] = frozenset({"conditions", "images"})
    title: ClassVar[str] = "NegGrad"
    summary: ClassVar[str] = "gradient ascent on the images to forget (baseline)"

    def loss(self, phase: str, ctx: StepContext) -> LossTerms:
        student, pairs = ctx.networks[phase], self.pairs(ctx)
        eps = pairs.forget_eps_theta(student, pairs.noised(pairs.a))
        losses = per_sample_sum((eps - pairs.eps).square())
        forget = (losses * pairs.in_window).mean()
        return LossTerms(retain=forget.new_zeros(()), forget=-forget)
