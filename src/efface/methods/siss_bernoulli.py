"""SISS without importance weights: every row belongs to the image that it was noised from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from efface.errors import ConfigError
from efface.methods.base import LossTerms, StepContext, per_sample_sum
from efface.methods.image_method import SubtractingMethod


@dataclass(frozen=True, kw_only=True)
class SISSBernoulli(SubtractingMethod):
    """L_R - c L_A, each row drawn for one term alone (arXiv 2503.01034, ablation).

    A row is an image to forget with probability `mixture` and counts 1 / mixture; the others count
    1 / (1 - mixture): unbiased, without weights. Rows are drawn one by one.
    """

    mixture: float = 0.5

    one_row_per_pair: ClassVar[bool] = True
    summary: ClassVar[str] = "SISS without importance weights: rows drawn for one term each"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.mixture < 1:
            raise ConfigError(
                f"mixture {self.mixture} leaves one term without rows: give one between 0 and 1."
            )

    def loss(self, phase: str, ctx: StepContext) -> LossTerms:
        student, pairs = ctx.networks[phase], self.pairs(ctx)
        count = len(pairs.x)
        arm = (ctx.rng.uniform()[:count] < self.mixture) & pairs.in_window
        share = self.mixture * pairs.in_window
        kept, gone = (~arm).nonzero()[:, 0], arm.nonzero()[:, 0]
        retain = forget = pairs.x.new_zeros(())
        if len(kept):
            m = pairs.noised(pairs.x)
            target = self.retain_noise(ctx, pairs, m, pairs.eps, kept)
            losses = per_sample_sum((pairs.eps_theta(student, m, kept) - target).square())
            retain = (losses / (1 - share[kept])).sum() / count
        if len(gone):
            eps = pairs.eps_theta(student, pairs.noised(pairs.a), gone)
            losses = per_sample_sum((eps - pairs.eps[gone]).square())
            forget = losses.sum() / (self.mixture * count)
        loss_a = forget.detach() / (self.window * pairs.x[0].numel())
        return LossTerms(retain=retain, forget=-forget, logs={"forgotten_loss": loss_a})
