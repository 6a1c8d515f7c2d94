"""NegGrad+: ascent on the forget set, and denoising training on the retain set."""

from typing import ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from efface.methods.base import LossTerms, StepContext, Subject, per_sample_sum
from efface.methods.image_method import ImageMethod


@dataclass(frozen=True, kw_only=True)
class NegGradPlus(ImageMethod):
    """L_R - ascent L_A: NegGrad with a retain term (Kurmanji et al., NeurIPS 2023).

    Unbounded below, so that the number of steps is a strength as well.
    """

    ascent: float = Field(default=0.1, ge=0, le=1e6, description="Weight of the ascent.")

    forgets: ClassVar[frozenset[Subject]] = frozenset({"conditions", "images"})
    title: ClassVar[str] = "NegGrad+"
    summary: ClassVar[str] = "gradient ascent with a retain term (baseline)"

    def loss(self, phase: str, ctx: StepContext) -> LossTerms:
        student, pairs = ctx.networks[phase], self.pairs(ctx)
        m_x = pairs.noised(pairs.x)
        target = self.retain_noise(ctx, pairs, m_x, pairs.eps)
        retain = per_sample_sum((pairs.eps_theta(student, m_x) - target).square()).mean()
        eps = pairs.forget_eps_theta(student, pairs.noised(pairs.a))
        losses = per_sample_sum((eps - pairs.eps).square())
        return LossTerms(retain=retain, forget=-self.ascent * (losses * pairs.in_window).mean())
