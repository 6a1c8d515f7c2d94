"""What the methods that forget particular images have in common: windows, targets, rules."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from efface.diffusion.denoiser import Denoiser
from efface.errors import ConfigError
from efface.methods.base import Method, Need, StepContext, Subject
from efface.methods.gradient_rules import DualVariable, FixedNorm, GradientRule, RelativeNorm
from efface.methods.mixture import posterior_shares, subtract
from efface.methods.pairs import ALL, Pairs, Rows, bank_of, condition_rows, images

PUBLISHED = {  # of all baselines in SISS's script, for CelebA
    "train.steps": 60,
    "train.batch_size": 64,
    "train.learning_rate": 5e-6,
    "train.beta1": 0.95,
    "train.weight_decay": 1e-6,
    "train.clip_norm": 1.0,
    "train.ema_decay": 0.0,
}


@dataclass(frozen=True, kw_only=True)
class ImageMethod(Method):
    """Base of the methods that forget images; losses sum over pixels and average over rows.

    `retain_target` is what the retain term regresses: the noise that was added, or (for retained
    images that the model generated) the original model's prediction, as it is or "subtracted":
    without the posterior share of the images to forget, where that is below `tau`
    (docs/methods/posterior-subtraction.md). `retain_only_target` is the same for retain-only rows.
    """

    retain_target: Literal["noise", "teacher", "subtracted"] = Field(
        default="noise",
        description="What retained images regress: noise or a prediction of the teacher.",
    )
    retain_only_target: Literal["noise", "teacher"] = Field(
        default="noise", description="What retain-only rows regress."
    )
    tau: float = Field(
        default=0.8, gt=0, lt=1, description="Posterior share above which nothing is subtracted."
    )
    window_start: float = Field(
        default=0.0, ge=0, lt=1, description="Where forgetting begins, as a share of the schedule."
    )
    window_end: float = Field(
        default=1.0, gt=0, le=1, description="Where forgetting ends, as a share of the schedule."
    )

    forget_share: ClassVar[float] = 1.0  # rows come in pairs
    one_row_per_pair: ClassVar[bool] = False  # else both images of a pair pass the student
    forgets: ClassVar[frozenset[Subject]] = frozenset({"images"})
    needs: ClassVar[frozenset[Need]] = frozenset({"images"})
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
        if self.window_start >= self.window_end:
            raise ConfigError(
                f"method.window_start {self.window_start} is not below method.window_end "
                f"{self.window_end}: give shares of the schedule, the start below the end."
            )

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
        if self.retain_target != "noise" or self.retain_only_target != "noise":
            networks["teacher"] = pretrained.frozen()
        return networks

    def passes(self, phase: str, network: str, retain: int, forget: int) -> tuple[int, ...]:
        if network != phase:  # the teacher takes no gradient
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
            teacher_rows=self._teacher_rows(ctx, t),
            condition=ctx.batch.retain.condition,
            forget_condition=ctx.batch.forget.condition,
        )

    def acts(self, ctx: StepContext, t: Tensor, timesteps: int) -> Tensor:
        """Rows in which something is forgotten: inside the window, and not retain-only.

        `t` (B,) are those of the retained rows, or of these and the forget rows after them.
        """
        inside = (t >= self.window_start * timesteps) & (t < self.window_end * timesteps)
        sides = (ctx.batch.retain, ctx.batch.forget)
        retain_only = [side.retain_only for side in sides if side.retain_only is not None]
        return inside & ~torch.cat(retain_only)[: len(t)] if retain_only else inside

    def retain_noise(
        self, ctx: StepContext, pairs: Pairs, m: Tensor, added: Tensor, rows: Rows = ALL
    ) -> Tensor:
        """What the retain term regresses at rows of m (B, ...): `added` noise, or the teacher's."""
        if self.retain_target == self.retain_only_target == "noise":
            return added[rows]
        wanted = torch.zeros_like(pairs.teacher_rows)
        wanted[rows] = True
        from_teacher = (wanted & pairs.teacher_rows).nonzero()[:, 0]
        if len(from_teacher) == 0:
            return added[rows]
        with torch.no_grad():
            prediction = self._prediction(ctx, pairs, m, from_teacher, added)
        return added.index_copy(0, from_teacher, prediction.to(added.dtype))[rows]

    def _prediction(
        self, ctx: StepContext, pairs: Pairs, m: Tensor, rows: Tensor, added: Tensor
    ) -> Tensor:
        """The original model's noise at rows of m (B, ...), the images to forget subtracted."""
        c = condition_rows(pairs.condition, rows)
        prediction = ctx.networks["teacher"](m[rows], pairs.t[rows], c)
        if self.retain_target != "subtracted":
            return prediction.eps
        alpha, sigma = (level[rows] for level in pairs.levels)
        bank = bank_of(ctx)
        shares = posterior_shares(m[rows], bank, (alpha, sigma))
        shares = shares * pairs.in_window[rows, None]
        without = (m[rows] - alpha * subtract(prediction.x0, shares, bank.forget)) / sigma
        below = (shares.sum(1) < self.tau).view((-1,) + (1,) * (m.ndim - 1))
        return torch.where(below, without, added[rows])

    def _teacher_rows(self, ctx: StepContext, t: Tensor) -> Tensor:
        """Rows (B,) whose target is the original model's; retain-only rows have their own."""
        pair = torch.full_like(t, self.retain_target != "noise", dtype=torch.bool)
        retain_only = ctx.batch.retain.retain_only
        if retain_only is None:
            return pair
        return torch.where(retain_only, self.retain_only_target != "noise", pair)


@dataclass(frozen=True, kw_only=True)
class SubtractingMethod(ImageMethod):
    """L_R - c L_A with c from a gradient rule: SISS and its relatives (arXiv 2503.01034, eq. 8)."""

    rule_name: Literal["relative_norm", "fixed_norm", "dual"] = Field(
        default="relative_norm", description="How the forget gradient is scaled."
    )
    ratio: float = Field(
        default=0.1,
        gt=0,
        le=1e6,
        description="Of relative_norm: norm of the forget gradient over the retain gradient's.",
    )
    only_when_larger: bool = Field(
        default=True, description="Of relative_norm: scale down alone, as in the paper's words."
    )
    fixed_norm: float = Field(
        default=5.0,
        gt=0,
        le=1e9,
        description="Of fixed_norm; published: 5 MNIST, 500 CelebA-HQ, 750 Stable Diffusion.",
    )
    dual_level: float = Field(
        default=0.1, gt=0, le=1e6, description="Of dual: loss of unseen images, mean over pixels."
    )
    dual_rate: float = Field(
        default=0.02, gt=0, le=1e3, description="Of dual: how fast the multiplier moves."
    )

    def rule(self, phase: str) -> GradientRule:
        if self.rule_name == "relative_norm":
            return RelativeNorm(
                ratio=self.ratio,
                only_when_larger=self.only_when_larger,
                starts_at_rest=self.retain_target == "teacher",
            )
        if self.rule_name == "fixed_norm":
            return FixedNorm(value=self.fixed_norm)
        return DualVariable(self.dual_level, self.dual_rate)
