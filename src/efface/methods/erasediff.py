"""EraseDiff: random label whose step never raises the forget loss."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from efface.methods.gradient_rules import GradientRule, Projection
from efface.methods.relabel import Relabel


@dataclass(frozen=True, kw_only=True)
class EraseDiff(Relabel):
    """g = g_R + max(eta - <g_R, g_q> / |g_q|^2, 0) g_q, g_q the gradient of the forget loss.

    The bilevel problem of EraseDiff (Wu et al., arXiv 2401.05779) by BOME's multiplier. Its value
    function f(theta) - f(theta^K) takes K inner steps, whose result is a constant: the gradient is
    that of f(theta), and with phi = |g_q|^2 the step is the same for every K. So none are made.
    """

    eta: float = Field(
        default=0.1,
        ge=0,
        le=1e3,
        description="Share of the forget gradient that a step descends at least.",
    )

    title: ClassVar[str] = "EraseDiff"
    summary: ClassVar[str] = "random label by a projected, bilevel step (baseline)"
    as_published: ClassVar[Mapping[str, Any]] = {
        "method.eta": 0.1,
        "train.batch_size": 128,
        "train.learning_rate": 1e-4,
        "train.clip_norm": 1.0,
        "train.ema_decay": 0.0,
    }
    repaired: ClassVar[str] = (
        "ends with an error that it hides; its multiplier may raise the forget loss"
    )

    def rule(self, phase: str) -> GradientRule:
        return Projection(eta=self.eta)
