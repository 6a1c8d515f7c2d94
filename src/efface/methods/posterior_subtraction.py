"""Posterior subtraction: regress the prediction of the model that never saw the images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from efface.diffusion.denoiser import Denoiser
from efface.errors import ConfigError
from efface.methods.base import LossTerms, Need, StepContext, per_sample_sum
from efface.methods.image_method import ImageMethod, asked, bank_of, images
from efface.methods.mixture import posterior_mean, posterior_shares, subtract


@dataclass(frozen=True, kw_only=True)
class PosteriorSubtraction(ImageMethod):
    """Regression on D_R = (D - w a) / (1 - w), the exact prediction without the images.

    If a share pi of the training density are the images a, the untouched model predicts
    D = (1 - w) D_R + w a, with w their posterior share at the noisy sample; D_R is what the model
    that never saw them would predict. q(m|a) is known in closed form and p_R(m) is a kernel
    estimate over retained images, real or drawn by the model. Rows with w above `tau` are left
    out, or, with `above_tau` "neighbours", regress the posterior mean over the retained images at
    timesteps from `neighbours_from` of the schedule on. No ascent, no strength to set: the loss
    has a fixed point and is 0 there. Derived in docs/posterior-subtraction.md; this project's own.
    """

    above_tau: Literal["skip", "neighbours"] = "skip"
    neighbours_from: float = 0.4
    forget_share: float = 0.25  # pyright: ignore[reportIncompatibleVariableOverride]

    needs: ClassVar[frozenset[Need]] = frozenset({"retain_images", "forget_images", "prior"})
    summary: ClassVar[str] = "regresses the prediction of the model that never saw the images"
    train_defaults: ClassVar[Mapping[str, Any]] = {
        **ImageMethod.train_defaults,
        "learning_rate": 2e-4,
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.neighbours_from <= 1:
            raise ConfigError(
                f"neighbours_from {self.neighbours_from} is no share of the schedule: give 0 to 1."
            )

    def networks(self, pretrained: Denoiser) -> dict[str, Denoiser]:
        return {"student": pretrained.clone(), "teacher": pretrained.frozen()}

    def passes(self, phase: str, network: str, retain: int, forget: int) -> tuple[int, ...]:
        return (retain + forget,) if network == phase else ()

    def loss(self, phase: str, ctx: StepContext) -> LossTerms:
        """|eps_theta(m, t) - (m - alpha D_R) / sigma|^2 at m from both sides, where w < tau."""
        student, teacher, bank = ctx.networks[phase], ctx.networks["teacher"], bank_of(ctx)
        y = torch.cat([images(ctx.batch.retain), images(ctx.batch.forget)])
        c = ctx.batch.condition
        schedule = student.schedule
        t = ctx.rng.integers(0, schedule.num_timesteps)
        m = schedule.add_noise(y, ctx.rng.normal(tuple(y.shape[1:])), t)
        alpha, sigma = schedule.levels(t, m)
        shares = posterior_shares(m, bank, (alpha, sigma))
        shares = shares * self.acts(ctx, t, schedule.num_timesteps)[:, None]
        below = shares.sum(1) < self.tau
        rows = below.nonzero()[:, 0]
        with torch.no_grad():
            predicted = teacher(m[rows], t[rows], asked(c, rows)).x0
            target = subtract(predicted, shares[rows], bank.forget)
            if self.above_tau == "neighbours":
                above = ~below & (t >= self.neighbours_from * schedule.num_timesteps)
                more = above.nonzero()[:, 0]
                near = posterior_mean(m[more], bank.retain, schedule.levels(t[more], m))
                rows, target = torch.cat([rows, more]), torch.cat([target, near])
            eps_r = (m[rows] - alpha[rows] * target) / sigma[rows]
        eps = student(m[rows], t[rows], asked(c, rows)).eps
        losses = m.new_zeros(len(m)).index_add(0, rows, per_sample_sum((eps - eps_r).square()))
        retain, forget = losses.split([ctx.batch.retain.size, ctx.batch.forget.size])
        return LossTerms(
            retain=retain.mean(),
            forget=forget.mean() if len(forget) else None,
            logs={"left_out": 1 - m.new_tensor(len(rows) / len(m))},
        )
