"""SISS without importance sampling: two passes, one for each term."""

from typing import ClassVar

from pydantic.dataclasses import dataclass

from efface.methods.base import LossTerms, StepContext, Subject, per_sample_sum
from efface.methods.image_method import SubtractingMethod


@dataclass(frozen=True, kw_only=True)
class SISSNoIS(SubtractingMethod):
    """L_R - c L_A with a pass for each (arXiv 2503.01034, "SISS (No IS)").

    Retained image and image to forget share timestep and noise.
    """

    forgets: ClassVar[frozenset[Subject]] = frozenset({"conditions", "images"})
    title: ClassVar[str] = "SISS without importance sampling"
    summary: ClassVar[str] = "SISS with two passes instead of importance sampling"

    def loss(self, phase: str, ctx: StepContext) -> LossTerms:
        student, pairs = ctx.networks[phase], self.pairs(ctx)
        m_x = pairs.noised(pairs.x)
        target = self.retain_noise(ctx, pairs, m_x, pairs.eps)
        retain = per_sample_sum((pairs.eps_theta(student, m_x) - target).square()).mean()
        rows = pairs.in_window.nonzero()[:, 0]
        forget = retain.new_zeros(())
        if len(rows):
            eps = pairs.forget_eps_theta(student, pairs.noised(pairs.a), rows)
            forget = per_sample_sum((eps - pairs.eps[rows]).square()).sum() / len(pairs.x)
        loss_a = forget.detach() / (self.window * pairs.x[0].numel())
        return LossTerms(retain=retain, forget=-forget, logs={"forgotten_loss": loss_a})
