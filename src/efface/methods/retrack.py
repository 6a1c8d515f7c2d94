"""ReTrack: the noised image to forget is pointed at its retained neighbours."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from efface.methods.base import LossTerms, Share, StepContext, Subject, per_sample_sum
from efface.methods.image_method import ImageMethod
from efface.methods.pairs import Pairs, bank_of


@dataclass(frozen=True, kw_only=True)
class ReTrack(ImageMethod):
    """(1 - weight) L_R + weight |eps_theta(m_a) - (m_a - alpha y) / sigma|^2, y from neighbours.

    y is the mean of the `neighbours` nearest retained images, weighted by their kernels at m_a
    (ReTrack, arXiv 2509.13007; with one random neighbour, the `modified_noise_obj` of SISS's
    first published code). The default weight 0.5 is that paper's for Stable Diffusion; its models
    of pixels have 0.005 to 0.02.
    """

    weight: Share = Field(
        default=0.5, description="Share of the forget term; published for pixels: 0.005 to 0.02."
    )
    neighbours: int = Field(
        default=10, ge=1, le=1_000_000, description="Retained images that an image is pointed at."
    )

    forgets: ClassVar[frozenset[Subject]] = frozenset({"conditions", "images"})
    title: ClassVar[str] = "ReTrack"
    summary: ClassVar[str] = "points images to forget at their retained neighbours (ReTrack)"
    as_published: ClassVar[Mapping[str, Any]] = {
        "method.weight": 0.005,
        "train.steps": 40,
        "train.learning_rate": 5e-6,
        "train.clip_norm": 1.0,
        "train.ema_decay": 0.0,
    }

    def loss(self, phase: str, ctx: StepContext) -> LossTerms:
        student, pairs = ctx.networks[phase], self.pairs(ctx)
        m_x, m_a = pairs.noised(pairs.x), pairs.noised(pairs.a)
        target = self.retain_noise(ctx, pairs, m_x, pairs.eps)
        retain = per_sample_sum((pairs.eps_theta(student, m_x) - target).square()).mean()
        towards = pairs.noise_towards(self._neighbour_mean(ctx, pairs, m_a), m_a)
        losses = per_sample_sum((pairs.forget_eps_theta(student, m_a) - towards).square())
        forget = (losses * pairs.in_window).mean()
        return LossTerms(retain=(1 - self.weight) * retain, forget=self.weight * forget)

    def _neighbour_mean(self, ctx: StepContext, pairs: Pairs, m: Tensor) -> Tensor:
        """Softmax of -|m - alpha x_k|^2 / (2 sigma^2) over the neighbours of each row's image."""
        bank = bank_of(ctx)
        which = torch.cdist(pairs.a.flatten(1), bank.forget.flatten(1)).argmin(1)
        near = bank.neighbours(self.neighbours)[which].flatten(2)  # (B, k, D)
        alpha, sigma = (level.flatten(1) for level in pairs.levels)
        distances = (m.flatten(1)[:, None] - alpha[:, None] * near).square().sum(2)
        weights = (-distances / (2 * sigma.square())).softmax(1)
        with torch.autocast(m.device.type, enabled=False):
            return torch.einsum("bk,bkd->bd", weights, near).view_as(m)
