"""SISS: subtracted importance sampled scores, unlearning of particular training images."""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from efface.methods.base import LossTerms, Share, StepContext, per_sample_sum
from efface.methods.image_method import SubtractingMethod
from efface.methods.mixture import log_odds, mixture_weights
from efface.methods.pairs import Pairs

NEGLIGIBLE = 1e-6  # a weight below this leaves the gradient as it is to float32 rounding
CALL_COST = 3000  # pixels whose forward and backward pass cost as much as one more network call


@dataclass(frozen=True, kw_only=True)
class SISS(SubtractingMethod):
    """Subtracted importance sampled scores (Alberti et al., ICLR 2025, arXiv 2503.01034).

    One network pass serves both terms: m is sampled from the mixture (1 - lambda) q(m|x) +
    lambda q(m|a) of a retained image x and an image a to forget, and importance weights make
    both expectations exact. `mixture` is lambda. With `arms` "stratified" a batch holds exactly
    its share of noised images to forget; with "bernoulli" every row is chosen by itself.

    A row whose posterior is saturated belongs to one term alone, so with `arm_split` it travels
    in a sub-batch of that term's own and is differentiated once: 3 + 2u forwards' worth a row
    instead of 5, with u the share of undecided rows. "auto" splits where that saves more than the
    further network calls cost.
    """

    mixture: Share = Field(
        default=0.5, description="Lambda: share of noised images to forget in the mixture."
    )
    arms: Literal["stratified", "bernoulli"] = Field(
        default="stratified", description="How rows are given to the two images of the mixture."
    )
    arm_split: Literal["auto", "always", "never"] = Field(
        default="auto",
        description="When rows that belong to one term alone are passed by themselves.",
    )

    one_row_per_pair: ClassVar[bool] = True
    title: ClassVar[str] = "SISS"
    summary: ClassVar[str] = "subtracted importance sampled scores: forgets particular images"

    def loss(self, phase: str, ctx: StepContext) -> LossTerms:
        student, pairs = ctx.networks[phase], self.pairs(ctx)
        m = self._noised(ctx, pairs)
        w_x, w_a = mixture_weights(log_odds(m, pairs.x, pairs.a, pairs.levels), self.mixture)
        w_a = w_a * pairs.in_window
        w_x = torch.where(pairs.in_window, w_x, 1.0)
        eps_x, kept = pairs.noise_towards(pairs.x, m), w_x >= NEGLIGIBLE
        eps_x[kept] = self.retain_noise(ctx, pairs, m, eps_x, kept)
        eps_a = pairs.noise_towards(pairs.a, m)
        retain = forget = m.new_zeros(())
        for rows in self._groups(w_x, w_a, m):
            eps = pairs.eps_theta(student, m, rows)
            retain = retain + _weighted_sum(w_x[rows], eps - eps_x[rows])
            forget = forget + _weighted_sum(w_a[rows], eps - eps_a[rows])
        loss_a = forget.detach() / len(m) / (self.window * m[0].numel())
        undecided = ((w_x >= NEGLIGIBLE) & (w_a >= NEGLIGIBLE)).float().mean()
        return LossTerms(
            retain=retain / len(m),
            forget=-forget / len(m),
            logs={"forgotten_loss": loss_a, "undecided": undecided},
        )

    def _noised(self, ctx: StepContext, pairs: Pairs) -> Tensor:
        """M of the mixture, (B, ...); outside the window of the retained image alone."""
        if self.arms == "stratified":
            arm = ctx.rng.stratified(self.mixture)[: len(pairs.x)]
        else:
            arm = ctx.rng.uniform()[: len(pairs.x)] < self.mixture
        arm = (arm & pairs.in_window).view((-1,) + (1,) * (pairs.x.ndim - 1))
        return pairs.noised(torch.where(arm, pairs.a, pairs.x))

    def _groups(self, w_x: Tensor, w_a: Tensor, m: Tensor) -> list[Tensor]:
        """Row numbers that pass the network together."""
        in_x, in_a = w_x >= NEGLIGIBLE, w_a >= NEGLIGIBLE
        groups = [g.nonzero()[:, 0] for g in (in_x & ~in_a, ~in_x & in_a, in_x & in_a)]
        groups = [rows for rows in groups if len(rows)]
        decided = len(m) - int((in_x & in_a).sum())
        # A decided row saves one backward pass, 2 of 5; each further call costs about 3.
        saved = 2 * decided * m[0, 0].numel()
        split = self.arm_split == "always" or saved > 3 * CALL_COST * (len(groups) - 1)
        if self.arm_split == "never" or not split:
            return [torch.arange(len(m), device=m.device)]
        return groups


def _weighted_sum(weights: Tensor, difference: Tensor) -> Tensor:
    """Sum over rows of w |difference|^2; rows without weight are left out before multiplying.

    Where no row has weight the sum depends on nothing, so that no backward pass is made.
    """
    if not bool((weights >= NEGLIGIBLE).any()):
        return weights.new_zeros(())
    rows = torch.where(weights >= NEGLIGIBLE, per_sample_sum(difference.square()), 0.0)
    return (torch.where(weights >= NEGLIGIBLE, weights, 0.0) * rows).sum()
