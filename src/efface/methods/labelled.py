"""What baselines on labelled images share: noised rows, and a target for the rows to forget."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass as pydantic_dataclass
from torch import Tensor

from efface.data.batch import Side
from efface.diffusion.denoiser import Condition
from efface.methods.base import LossTerms, Method, Need, StepContext, Subject, per_sample_sum

NEEDED = "every row has a condition, and those to forget a target"


PUBLISHED = {  # of SalUn's script, for CIFAR-10: its weight of 0.001 is of a sum against a mean
    "method.retain_weight": 3.07,
    "train.steps": 1000,
    "train.batch_size": 128,
    "train.learning_rate": 1e-4,
    "train.clip_norm": 1.0,
    "train.ema_decay": 0.0,
}


@dataclass(frozen=True, eq=False, kw_only=True)
class Noised:
    """Images of one side at their timesteps: x_t = alpha x0 + sigma eps."""

    x_t: Tensor  # (B, C, H, W)
    t: Tensor  # (B,)
    eps: Tensor  # (B, C, H, W)
    condition: Condition  # B rows
    target: Condition  # B rows: labels to generate instead


def noise_sides(ctx: StepContext, network: str = "student") -> tuple[Noised, Noised]:
    """Both sides' images, each row at a uniform timestep with noise of its own."""
    schedule, sides = ctx.networks[network].schedule, (ctx.batch.retain, ctx.batch.forget)
    t = ctx.rng.integers(0, schedule.num_timesteps)
    eps = ctx.rng.normal(ctx.networks[network].sample_shape)
    first = sides[0].size
    retain = _noised(sides[0], schedule, t[:first], eps[:first])
    return retain, _noised(sides[1], schedule, t[first:], eps[first:])


def _noised(side: Side, schedule: Any, t: Tensor, eps: Tensor) -> Noised:
    assert side.x0 is not None and side.condition is not None and side.target is not None, NEEDED
    x_t = schedule.add_noise(side.x0, eps, t)
    return Noised(x_t=x_t, t=t, eps=eps, condition=side.condition, target=side.target)


@pydantic_dataclass(frozen=True, kw_only=True)
class LabelledMethod(Method):
    """Base of baselines: retain_weight L_R + |eps_theta(x_t, c_f) - target|^2, on labelled images.

    L_R is the denoising loss of retained images. Both terms sum over pixels and average over the
    rows of a side, so that weights are in equal units: published code sums the one and averages the
    other, which hides a factor of the number of pixels.
    """

    retain_weight: float = Field(
        default=1.0, ge=0, le=1e6, description="Weight of the retain term, in equal units."
    )

    forgets: ClassVar[frozenset[Subject]] = frozenset({"conditions"})
    needs: ClassVar[frozenset[Need]] = frozenset({"images"})
    forget_share: ClassVar[float] = 1.0
    train_defaults: ClassVar[Mapping[str, Any]] = {
        "learning_rate": 1e-4,
        "steps": 1000,
        "batch_size": 128,
        "clip_value": None,
        "clip_norm": 1.0,
        "ema_decay": 0.99,
    }

    @abstractmethod
    def forget_rows(self, ctx: StepContext, forget: Noised) -> tuple[Tensor, Tensor]:
        """What rows to forget are evaluated at, x_t, and what they regress, each (B, C, H, W)."""

    def loss(self, phase: str, ctx: StepContext) -> LossTerms:
        student, (retain, forget) = ctx.networks[phase], noise_sides(ctx)
        with torch.no_grad():
            x_t, target = self.forget_rows(ctx, forget)
        eps = student(
            torch.cat([retain.x_t, x_t]),
            torch.cat([retain.t, forget.t]),
            Condition.cat([retain.condition, forget.condition]),
        ).eps
        losses = per_sample_sum((eps - torch.cat([retain.eps, target])).square())
        of_retain, of_forget = losses.split([len(retain.t), len(forget.t)])
        return LossTerms(retain=self.retain_weight * of_retain.mean(), forget=of_forget.mean())
