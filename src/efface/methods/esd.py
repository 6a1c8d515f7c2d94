"""ESD: the prediction under the condition is moved the other way from the null condition's."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from efface.diffusion.denoiser import Denoiser
from efface.errors import ConfigError
from efface.methods.base import LossTerms, StepContext, per_sample_sum
from efface.methods.on_samples import OnSamples

CROSS_ATTENTION = "attn2"  # as diffusers names it in a UNet


@dataclass(frozen=True, kw_only=True)
class ESD(OnSamples):
    """|eps_theta(x_t, c) - (eps_0(x_t) - eta (eps_0(x_t, c) - eps_0(x_t)))|^2 for a condition c.

    eps_0 is the original model, eps_0(x_t) its prediction under the null condition, and x_t where
    `partial_steps` DDIM steps of the original model under c arrive from noise at a uniform t
    (Gandikota et al., ICCV 2023, arXiv 2303.07345, eq. 7). Nothing is retained. The loss is summed
    over pixels and averaged over rows. `trained` "cross_attention" is ESD-x, "others" ESD-u.
    """

    eta: float = Field(
        default=1.0, ge=0, le=100, description="Strength of the negative guidance; published: 1."
    )
    trained: Literal["all", "cross_attention", "others"] = Field(
        default="all", description="Which weights are updated: ESD, ESD-x or ESD-u."
    )

    title: ClassVar[str] = "ESD"
    summary: ClassVar[str] = "negative guidance becomes the prediction: data-free (baseline)"
    as_published: ClassVar[Mapping[str, Any]] = {
        "method.eta": 1.0,
        "train.steps": 1000,
        "train.batch_size": 1,
        "train.learning_rate": 1e-5,
        "train.ema_decay": 0.0,
    }
    repaired: ClassVar[str] = (
        "its CIFAR-10 version steps before the backward pass and never clears gradients"
    )

    def networks(self, pretrained: Denoiser) -> dict[str, Denoiser]:
        pretrained.require_null()
        return super().networks(pretrained)

    def prepare(self, contexts: Iterator[StepContext]) -> dict[str, Tensor]:
        if self.trained == "all":
            return {}
        names = [name for name, _ in next(contexts).networks["student"].network.named_parameters()]
        crossing = {name: CROSS_ATTENTION in name.split(".") for name in names}
        if not any(crossing.values()):
            raise ConfigError(
                f"method.trained={self.trained} tells cross-attention from the other weights, and "
                "the network has none: leave it out."
            )
        chosen = self.trained == "cross_attention"
        return {name: torch.tensor(crosses == chosen) for name, crosses in crossing.items()}

    def update_mask(self, phase: str, prepared: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return prepared

    def loss(self, phase: str, ctx: StepContext) -> LossTerms:
        teacher, student = ctx.networks["teacher"], ctx.networks["student"]
        condition = ctx.batch.forget.condition
        assert condition is not None  # what is forgotten is one
        t, x_t = self.sample_path(ctx, condition)
        with torch.no_grad():
            eps_null = teacher(x_t, t, teacher.null(condition)).eps
            target = eps_null - self.eta * (teacher(x_t, t, condition).eps - eps_null)
        losses = per_sample_sum((student(x_t, t, condition).eps - target).square())
        return LossTerms(retain=losses.new_zeros(()), forget=losses.mean())
