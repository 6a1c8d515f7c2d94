"""Naive deletion: further training on the retain set."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic.dataclasses import dataclass

from efface.methods.base import LossTerms, StepContext, Subject, per_sample_sum
from efface.methods.image_method import PUBLISHED, ImageMethod


@dataclass(frozen=True, kw_only=True)
class NaiveDeletion(ImageMethod):
    """L_R alone: the baseline that hopes for catastrophic forgetting (arXiv 2503.01034, 1.2)."""

    forget_share: ClassVar[float] = 0.0
    forgets: ClassVar[frozenset[Subject]] = frozenset({"conditions", "images"})
    title: ClassVar[str] = "naive deletion"
    summary: ClassVar[str] = "fine-tunes on the retained images alone (baseline)"
    as_published: ClassVar[Mapping[str, Any]] = PUBLISHED

    def loss(self, phase: str, ctx: StepContext) -> LossTerms:
        student, pairs = ctx.networks[phase], self.pairs(ctx)
        m = pairs.noised(pairs.x)
        target = self.retain_noise(ctx, pairs, m, pairs.eps)
        losses = per_sample_sum((pairs.eps_theta(student, m) - target).square())
        return LossTerms(retain=losses.mean())
