"""What the methods that forget particular images have in common: pairs, windows, targets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from efface.data.bank import ImageBank
from efface.data.batch import Side
from efface.diffusion.denoiser import Condition, Denoiser
from efface.errors import ConfigError
from efface.methods.base import Method, Need, StepContext
from efface.methods.gradient_rules import DualVariable, FixedNorm, GradientRule, RelativeNorm
from efface.methods.mixture import posterior_shares, subtract

Rows = slice | Tensor  # row numbers, or a mask
ALL = slice(None)


@dataclass(frozen=True, eq=False, kw_only=True)
class Pairs:
    """Retained images x and images to forget a, row by row, with one timestep and noise each.

    Both images of a row are asked for under one condition (arXiv 2503.01034, section 4).
    """

    x: Tensor  # (B, ...) in model space
    a: Tensor
    t: Tensor  # (B,)
    eps: Tensor  # (B, ...)
    levels: tuple[Tensor, Tensor]  # alpha, sigma, broadcast over x
    in_window: Tensor  # (B,) whether forgetting acts at t, and beside x
    taught: Tensor  # (B,) whether the retain term regresses the untouched model's prediction
    condition: Condition | None = None  # one row per pair; None for unconditional models

    def noised(self, y: Tensor) -> Tensor:
        alpha, sigma = self.levels
        return alpha * y + sigma * self.eps

    def noise_towards(self, y: Tensor, m: Tensor) -> Tensor:
        """(m - alpha y) / sigma: the noise that would have led from y to m."""
        alpha, sigma = self.levels
        return (m - alpha * y) / sigma

    def eps_theta(self, denoiser: Denoiser, m: Tensor, rows: Rows = ALL) -> Tensor:
        """The noise that a network sees in rows of m (B, ...), asked under each row's condition."""
        return denoiser(m[rows], self.t[rows], asked(self.condition, rows)).eps


@dataclass(frozen=True, kw_only=True)
class ImageMethod(Method):
    """Base of the methods that forget images; losses sum over pixels and average over rows.

    `retain_target` is what the retain term regresses: the noise that was added, or (for retained
    images that the model drew itself) the untouched model's prediction, as it is or "subtracted":
    without the posterior share of the images to forget (docs/posterior-subtraction.md), where that
    is below `tau`. `alone_target` is the same for rows that only stay. Forgetting acts on
    timesteps from `window_start` to `window_end`, as shares of the schedule.
    """

    retain_target: Literal["noise", "teacher", "subtracted"] = "noise"
    alone_target: Literal["noise", "teacher"] = "noise"
    tau: float = 0.8
    window_start: float = 0.0
    window_end: float = 1.0
    forget_share: ClassVar[float] = 1.0  # rows come in pairs
    one_row_per_pair: ClassVar[bool] = False  # else both images of a pair pass the student
    needs: ClassVar[frozenset[Need]] = frozenset({"retain_images", "forget_images"})
    train_defaults: ClassVar[Mapping[str, Any]] = {
        "learning_rate": 5e-5,
        "steps": 90,
        "batch_size": 64,
        "beta1": 0.95,
        "weight_decay": 1e-6,
        "clip_norm": 1.0,
        "ema_decay": 0.9,
    }

    def __post_init__(self) -> None:
        if not 0 <= self.window_start < self.window_end <= 1:
            raise ConfigError(
                f"window_start {self.window_start} and window_end {self.window_end} are no window: "
                "give shares of the schedule from 0 to 1, the start below the end."
            )
        if not 0 < self.tau < 1:
            raise ConfigError(f"tau {self.tau} is no share below 1: give one between 0 and 1.")

    @property
    def asks_prior(self) -> bool:
        """Whether the share of the images to forget in the training data matters."""
        return super().asks_prior or self.retain_target == "subtracted"

    @property
    def window(self) -> float:
        """The share of timesteps at which forgetting acts."""
        return self.window_end - self.window_start

    def networks(self, pretrained: Denoiser) -> dict[str, Denoiser]:
        networks = {"student": pretrained.clone()}
        if self.retain_target != "noise" or self.alone_target != "noise":
            networks["teacher"] = pretrained.frozen()
        return networks

    def passes(self, phase: str, network: str, retain: int, forget: int) -> tuple[int, ...]:
        if network != phase:  # the untouched model is asked without gradient
            return ()
        return (retain,) if self.one_row_per_pair else (retain, forget)

    def pairs(self, ctx: StepContext) -> Pairs:
        """Row i pairs retained image i with image i to forget: the same t and the same noise."""
        x = images(ctx.batch.retain)
        a = images(ctx.batch.forget) if self.forget_share else x[:0]
        schedule = ctx.networks["student"].schedule
        t = ctx.rng.integers(0, schedule.num_timesteps)[: len(x)]
        eps = ctx.rng.normal(tuple(x.shape[1:]))[: len(x)]
        return Pairs(
            x=x,
            a=a,
            t=t,
            eps=eps,
            levels=schedule.levels(t, x),
            in_window=self.acts(ctx, t, schedule.num_timesteps),
            taught=self._taught(ctx, t),
            condition=ctx.batch.retain.condition,
        )

    def acts(self, ctx: StepContext, t: Tensor, timesteps: int) -> Tensor:
        """Where something is forgotten: inside the window, but for rows that only stay.

        `t` (B, ...) are those of the retained rows, or of these and the rows to forget after them.
        """
        inside = (t >= self.window_start * timesteps) & (t < self.window_end * timesteps)
        alone = [
            side.alone for side in (ctx.batch.retain, ctx.batch.forget) if side.alone is not None
        ]
        return inside & ~torch.cat(alone)[: len(t)] if alone else inside

    def retain_noise(
        self, ctx: StepContext, pairs: Pairs, m: Tensor, own: Tensor, rows: Rows = ALL
    ) -> Tensor:
        """What the retain term regresses at rows of m (B, ...): `own` noise, or the teacher's."""
        if self.retain_target == self.alone_target == "noise":
            return own[rows]
        asked_for = torch.zeros_like(pairs.taught)
        asked_for[rows] = True
        taught = (asked_for & pairs.taught).nonzero()[:, 0]
        if len(taught) == 0:
            return own[rows]
        with torch.no_grad():
            prediction = self._prediction(ctx, pairs, m, taught, own)
        return own.index_copy(0, taught, prediction.to(own.dtype))[rows]

    def _prediction(
        self, ctx: StepContext, pairs: Pairs, m: Tensor, rows: Tensor, own: Tensor
    ) -> Tensor:
        """The untouched model's noise at rows of m (B, ...), what it knows of images taken out."""
        c = asked(pairs.condition, rows)
        prediction = ctx.networks["teacher"](m[rows], pairs.t[rows], c)
        if self.retain_target != "subtracted":
            return prediction.eps
        alpha, sigma = (level[rows] for level in pairs.levels)
        bank = bank_of(ctx)
        shares = posterior_shares(m[rows], bank, (alpha, sigma))
        shares = shares * pairs.in_window[rows, None]
        without = (m[rows] - alpha * subtract(prediction.x0, shares, bank.forget)) / sigma
        below = (shares.sum(1) < self.tau).view((-1,) + (1,) * (m.ndim - 1))
        return torch.where(below, without, own[rows])

    def _taught(self, ctx: StepContext, t: Tensor) -> Tensor:
        """Rows (B,) whose target is the untouched model's; rows that only stay have their own."""
        pair = torch.full_like(t, self.retain_target != "noise", dtype=torch.bool)
        alone = ctx.batch.retain.alone
        if alone is None:
            return pair
        return torch.where(alone, self.alone_target != "noise", pair)


@dataclass(frozen=True, kw_only=True)
class SubtractingMethod(ImageMethod):
    """L_R - c L_A with c from a gradient rule: SISS and its relatives (arXiv 2503.01034, eq. 8)."""

    rule_name: Literal["relative_norm", "fixed_norm", "dual"] = "relative_norm"
    ratio: float = 0.1  # of relative_norm: the forget gradient's norm over the retain gradient's
    only_when_larger: bool = True  # of relative_norm: clip only, as in the paper's words
    fixed_norm: float = 5.0  # of fixed_norm: 5 for MNIST, 500 CelebA-HQ, 750 Stable Diffusion
    dual_level: float = 0.1  # of dual: the loss of images never seen, mean over pixels
    dual_rate: float = 0.02

    def rule(self, phase: str) -> GradientRule:
        del phase
        if self.rule_name == "relative_norm":
            return RelativeNorm(
                ratio=self.ratio,
                only_when_larger=self.only_when_larger,
                starts_at_rest=self.retain_target == "teacher",
            )
        if self.rule_name == "fixed_norm":
            return FixedNorm(value=self.fixed_norm)
        return DualVariable(self.dual_level, self.dual_rate)


def images(side: Side) -> Tensor:
    assert side.x0 is not None  # `needs` says so
    return side.x0


def asked(condition: Condition | None, rows: Rows) -> Condition | None:
    """Rows of a condition; unconditional models have none."""
    return None if condition is None else condition[rows]


def bank_of(ctx: StepContext) -> ImageBank:
    assert ctx.bank is not None  # the source of an image request has one
    return ctx.bank
