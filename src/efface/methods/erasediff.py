"""EraseDiff: what must go is regressed onto uniform noise, without hurting what stays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from efface.errors import ConfigError
from efface.methods.base import LossTerms, StepContext, per_sample_sum
from efface.methods.gradient_rules import GradientRule, Projection
from efface.methods.image_method import ImageMethod


@dataclass(frozen=True, kw_only=True)
class EraseDiff(ImageMethod):
    """L_R, with |eps_theta(m_a) - u|^2, u uniform in [0, 1), kept from rising (arXiv 2401.05779).

    The two gradients are combined by `Projection` with `eta`, as SISS's authors ran it.
    """

    eta: float = 1e-3

    summary: ClassVar[str] = "EraseDiff: predictions for forgotten images become uniform noise"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.eta < 0:
            raise ConfigError(f"eta {self.eta} is negative: give 0 or more.")

    def rule(self, phase: str) -> GradientRule:
        del phase
        return Projection(eta=self.eta)

    def loss(self, phase: str, ctx: StepContext) -> LossTerms:
        student, pairs = ctx.networks[phase], self.pairs(ctx)
        m_x = pairs.noised(pairs.x)
        target = self.retain_noise(ctx, pairs, m_x, pairs.eps)
        retain = per_sample_sum((pairs.eps_theta(student, m_x) - target).square()).mean()
        uniform = ctx.rng.uniforms(tuple(pairs.x.shape[1:]))[: len(pairs.x)]
        eps = pairs.eps_theta(student, pairs.noised(pairs.a))
        forget = (per_sample_sum((eps - uniform).square()) * pairs.in_window).mean()
        return LossTerms(retain=retain, forget=forget)
