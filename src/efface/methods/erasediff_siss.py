"""EraseDiff as SISS compares with it: images to forget are regressed onto uniform noise."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from efface.methods.base import LossTerms, StepContext, Subject, per_sample_sum
from efface.methods.gradient_rules import GradientRule, Projection
from efface.methods.image_method import PUBLISHED, ImageMethod


@dataclass(frozen=True, kw_only=True)
class EraseDiffSISS(ImageMethod):
    """L_R, with |eps_theta(m_a) - u|^2, u uniform in [0, 1), kept from rising (arXiv 2401.05779).

    The variant in SISS's tables: the two gradients are combined by `Projection` with `eta`. The
    published EraseDiff is another, bilevel one.
    """

    eta: float = Field(
        default=1e-3,
        ge=0,
        le=1e3,
        description="Share of the forget gradient that a step descends at least.",
    )

    forgets: ClassVar[frozenset[Subject]] = frozenset({"conditions", "images"})
    title: ClassVar[str] = "EraseDiff (as in SISS)"
    summary: ClassVar[str] = "EraseDiff of SISS's tables: images to forget become uniform noise"
    as_published: ClassVar[Mapping[str, Any]] = PUBLISHED | {"method.eta": 1e-3}
    repaired: ClassVar[str] = "a fixed norm of 500 in an earlier commit, in place of the projection"

    def rule(self, phase: str) -> GradientRule:
        return Projection(eta=self.eta)

    def loss(self, phase: str, ctx: StepContext) -> LossTerms:
        student, pairs = ctx.networks[phase], self.pairs(ctx)
        m_x = pairs.noised(pairs.x)
        target = self.retain_noise(ctx, pairs, m_x, pairs.eps)
        retain = per_sample_sum((pairs.eps_theta(student, m_x) - target).square()).mean()
        uniform = ctx.rng.uniforms(tuple(pairs.x.shape[1:]))[: len(pairs.x)]
        eps = pairs.forget_eps_theta(student, pairs.noised(pairs.a))
        forget = (per_sample_sum((eps - uniform).square()) * pairs.in_window).mean()
        return LossTerms(retain=retain, forget=forget)
