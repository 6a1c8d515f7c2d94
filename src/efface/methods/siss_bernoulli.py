"""SISS without importance weights: every row belongs to the image that it was noised from."""

from typing import ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from efface.methods.base import LossTerms, StepContext, per_sample_sum
from efface.methods.image_method import SubtractingMethod


@dataclass(frozen=True, kw_only=True)
class SISSBernoulli(SubtractingMethod):
    """L_R - c L_A, each row for one term alone (arXiv 2503.01034, ablation).

    A row is an image to forget with probability `mixture` and counts 1 / mixture; the others count
    1 / (1 - mixture): unbiased, without importance weights.
    """

    mixture: float = Field(
        default=0.5, gt=0, lt=1, description="Lambda: probability that a row is an image to forget."
    )

    one_row_per_pair: ClassVar[bool] = True
    title: ClassVar[str] = "SISS with Bernoulli sampling"
    summary: ClassVar[str] = "SISS without importance weights: every row for one term"

    def loss(self, phase: str, ctx: StepContext) -> LossTerms:
        student, pairs = ctx.networks[phase], self.pairs(ctx)
        count = len(pairs.x)
        arm = (ctx.rng.uniform()[:count] < self.mixture) & pairs.in_window
        share = self.mixture * pairs.in_window
        retained, forgotten = (~arm).nonzero()[:, 0], arm.nonzero()[:, 0]
        retain = forget = pairs.x.new_zeros(())
        if len(retained):
            m = pairs.noised(pairs.x)
            target = self.retain_noise(ctx, pairs, m, pairs.eps, retained)
            losses = per_sample_sum((pairs.eps_theta(student, m, retained) - target).square())
            retain = (losses / (1 - share[retained])).sum() / count
        if len(forgotten):
            eps = pairs.eps_theta(student, pairs.noised(pairs.a), forgotten)
            losses = per_sample_sum((eps - pairs.eps[forgotten]).square())
            forget = losses.sum() / (self.mixture * count)
        loss_a = forget.detach() / (self.window * pairs.x[0].numel())
        return LossTerms(retain=retain, forget=-forget, logs={"forgotten_loss": loss_a})
