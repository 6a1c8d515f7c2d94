"""SFD: score forgetting distillation, data-free forgetting with a one-step generator as result."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from efface.diffusion.denoiser import Condition, Denoiser
from efface.diffusion.sampling import OneStep
from efface.diffusion.schedule import NoiseSchedule
from efface.errors import ConfigError
from efface.methods.base import LossTerms, Method, Need, StepContext, per_sample_sum

GUIDANCES = ("fake_score_training_guidance", "fake_score_guidance", "teacher_guidance")


def fake_score_loss(eps: Tensor, eps_psi: Tensor) -> Tensor:
    """||eps - eps_psi||^2 per sample, (B, ...) -> (B,): what the fake score learns."""
    return per_sample_sum((eps - eps_psi).square())


def sid_loss(x: Tensor, p: Tensor, q: Tensor, alpha: float) -> Tensor:
    """Delta ((p - x) - alpha delta) / omega per sample, with delta = p - q: (B, ...) -> (B,).

    The score identity distillation loss of SFD (arXiv 2409.11219) for a generated `x`, the
    teacher's mean `p` and the fake score's mean `q`, summed over pixels. Gradient flows through
    x, p and q; omega = mean |p - x| is a constant.
    """
    omega = (p - x).abs().flatten(1).mean(1).clamp_min(1e-5).detach()
    delta = p - q
    return per_sample_sum(delta * ((p - x) - alpha * delta)) / omega


@dataclass(frozen=True, kw_only=True)
class SFD(Method):
    """Score forgetting distillation (Chen, Zhang & Zhou, ICLR 2025, arXiv 2409.11219).

    A student draws in one step; a fake score learns the student's distribution; the student is
    moved so that the teacher and the fake score agree on its samples. For what must go, the
    teacher is asked for the replacement instead. Losses are summed over pixels and averaged over
    the rows of a side. Noise levels are sigma_t / alpha_t and become timesteps of the model's own
    schedule; the defaults are those of the paper's CIFAR-10 runs.
    """

    alpha: float = 1.2  # weight of ||delta||^2 against its cross term
    fake_score_forget_weight: float = 0.01  # lambda and mu in the paper: equal in its runs
    student_forget_weight: float = 0.01
    sigma_min: float = 0.137  # noise levels at which the scores are compared
    sigma_max: float = 13.0
    sigma_init: float = 2.5  # noise level at which the student starts
    input_scale: Literal["unit", "published"] = "unit"  # std of the start: 1, or sigma_t at t_init
    fake_score_rate: float = 3.0  # learning rate of the fake score as a multiple of the student's
    forget_share: float = 1.0  # rows to forget per retained row; the expectation does not change
    share_student_pass: bool = False  # one student pass serves both phases
    stop_score_gradient: bool = False  # no gradient through p and q (Diff-Instruct, DMD)
    fake_score_training_guidance: float = 1.0  # long and short guidance (LSG), 1 is none
    fake_score_guidance: float = 1.0
    teacher_guidance: float = 1.0
    fake_score_condition_dropout: float = 0.0  # share of rows without condition, by phase
    student_condition_dropout: float = 0.0
    forget_warmup: float = 0.0  # share of the run in which rows to forget use the wider window
    warmup_sigma_min: float = 0.079
    warmup_sigma_max: float = 128.86

    summary: ClassVar[str] = "score forgetting distillation: data-free, result draws in one step"
    phases: ClassVar[tuple[str, ...]] = ("fake_score", "student")
    needs: ClassVar[frozenset[Need]] = frozenset({"conditions"})
    inherited: ClassVar[tuple[str, ...]] = ("sigma_init", "input_scale")
    train_defaults: ClassVar[Mapping[str, Any]] = {
        "learning_rate": 1e-5,
        "steps": 50_000,
        "beta1": 0.0,
        "clip_value": 1.0,
        "clip_norm": None,
        "ema_decay": 0.9999,
    }

    def __post_init__(self) -> None:
        if not 0 < self.sigma_min < self.sigma_max:
            raise ConfigError(
                f"sigma_min {self.sigma_min} and sigma_max {self.sigma_max} are no window: "
                "noise levels are above 0, and sigma_min is the smaller one."
            )
        if self.sigma_init <= 0:
            raise ConfigError(f"sigma_init {self.sigma_init} is no noise level: give one above 0.")
        for name in GUIDANCES:
            if getattr(self, name) < 0:
                raise ConfigError(
                    f"{name} {getattr(self, name)} leads away from what is asked for: give 0 or "
                    "more, 1 is no guidance."
                )
        shares = ("forget_share", "forget_warmup")
        shares += ("fake_score_condition_dropout", "student_condition_dropout")
        for name in shares:
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} {getattr(self, name)} is no share: give 0 to 1.")
        dropouts = self.fake_score_condition_dropout, self.student_condition_dropout
        if self.share_student_pass and len(set(dropouts)) > 1:
            raise ConfigError(
                f"share_student_pass was asked for with condition dropout {dropouts[0]} and "
                f"{dropouts[1]} in the two phases: one pass has one condition, give both the same."
            )

    def networks(self, pretrained: Denoiser) -> dict[str, Denoiser]:
        guidances = [getattr(self, name) for name in GUIDANCES]
        dropouts = self.fake_score_condition_dropout, self.student_condition_dropout
        if any(g != 1.0 for g in guidances) or any(d > 0 for d in dropouts):
            pretrained.require_null()
        return {
            "teacher": pretrained.frozen(),
            "fake_score": pretrained.clone(),
            "student": pretrained.clone(),
        }

    def active(self, phase: str) -> tuple[str, ...]:
        if phase == "fake_score" and self.share_student_pass:
            return ("fake_score", "student")
        return (phase,)

    def passes(self, phase: str, network: str, retain: int, forget: int) -> tuple[int, ...]:
        through = {"fake_score"} if phase == "fake_score" else {"student"}
        if phase == "fake_score" and self.share_student_pass:
            through.add("student")
        if phase == "student" and not self.stop_score_gradient:
            through |= {"teacher", "fake_score"}
        return (retain + forget,) if network in through else ()

    def learning_rate_ratio(self, phase: str) -> float:
        return self.fake_score_rate if phase == "fake_score" else 1.0

    def sampler(self, pretrained: Denoiser) -> OneStep:
        t_init = _timestep(pretrained.schedule, self.sigma_init)
        published = self.input_scale == "published"
        return OneStep(t_init, float(pretrained.schedule.sigmas[t_init]) if published else 1.0)

    def loss(self, phase: str, ctx: StepContext) -> LossTerms:
        if phase == "fake_score":
            return self._fake_score_loss(ctx)
        return self._student_loss(ctx)

    def _fake_score_loss(self, ctx: StepContext) -> LossTerms:
        """|| eps - eps_psi(alpha_t x + sigma_t eps, t, c) ||^2 on the student's own samples."""
        fake_score = ctx.networks["fake_score"]
        condition, _ = self._asked(ctx, self.fake_score_condition_dropout)
        with contextlib.nullcontext() if self.share_student_pass else torch.no_grad():
            x = self._generate(ctx, condition)
        ctx.memo["x"] = x
        t, eps, x_t = self._noised(ctx, x.detach())
        eps_psi = fake_score(x_t, t, condition, self.fake_score_training_guidance).eps
        return self._weighted(ctx, fake_score_loss(eps, eps_psi), self.fake_score_forget_weight)

    def _student_loss(self, ctx: StepContext) -> LossTerms:
        """The SiD loss; rows to forget ask the teacher for the replacement."""
        teacher, fake_score = ctx.networks["teacher"], ctx.networks["fake_score"]
        condition, target = self._asked(ctx, self.student_condition_dropout)
        x = ctx.memo["x"] if self.share_student_pass else self._generate(ctx, condition)
        t, _, x_t = self._noised(ctx, x)
        with torch.no_grad() if self.stop_score_gradient else contextlib.nullcontext():
            p = teacher(x_t, t, target, *self._teacher_guidance(ctx, target)).x0
            q = fake_score(x_t, t, condition, self.fake_score_guidance).x0
        return self._weighted(ctx, sid_loss(x, p, q, self.alpha), self.student_forget_weight)

    def _teacher_guidance(
        self, ctx: StepContext, target: Condition | None
    ) -> tuple[float | Tensor, Condition | None]:
        """The teacher's guidance and what it leads away from; some rows have their own of both."""
        away = ctx.batch.away
        if away is None or target is None:
            return self.teacher_guidance, None
        null = ctx.networks["teacher"].null(target).where(away.rows, away.condition)
        return away.guidance.masked_fill(~away.rows, self.teacher_guidance), null

    def _generate(self, ctx: StepContext, condition: Condition | None) -> Tensor:
        """X = g_theta(z, c): one step from noise, never clamped."""
        student = ctx.networks["student"]
        z = ctx.rng.normal(student.sample_shape)
        return self.sampler(student).draw(student, z, condition, [])

    def _noised(self, ctx: StepContext, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(t, eps, x_t) with t uniform over the window of noise levels."""
        schedule = ctx.networks["teacher"].schedule
        t = ctx.rng.integers(*self._window(ctx, schedule))
        eps = ctx.rng.normal(tuple(x.shape[1:]))
        return t, eps, schedule.add_noise(x, eps, t)

    def _window(
        self, ctx: StepContext, schedule: NoiseSchedule
    ) -> tuple[int, int] | tuple[Tensor, Tensor]:
        """First and one past the last timestep, wider for rows to forget during the warm-up."""
        low, high = _timestep(schedule, self.sigma_min), _timestep(schedule, self.sigma_max) + 1
        if ctx.step >= self.forget_warmup * ctx.steps:
            return low, high
        forget = (
            torch.arange(ctx.batch.size, device=schedule.alphas.device) >= ctx.batch.retain.size
        )
        return (
            torch.where(forget, _timestep(schedule, self.warmup_sigma_min), low),
            torch.where(forget, _timestep(schedule, self.warmup_sigma_max) + 1, high),
        )

    def _asked(self, ctx: StepContext, dropout: float) -> tuple[Condition | None, Condition | None]:
        """Condition and target of this phase, a share of both replaced by what asks for nothing."""
        condition, target = ctx.batch.condition, ctx.batch.target
        if dropout == 0 or condition is None or target is None:
            return condition, target
        if not (self.share_student_pass and "dropped" in ctx.memo):
            ctx.memo["dropped"] = ctx.rng.uniform() < dropout
        dropped, null = ctx.memo["dropped"], ctx.networks["teacher"].nothing(condition)
        return condition.where(dropped, null), target.where(dropped, null)

    def _weighted(self, ctx: StepContext, losses: Tensor, forget_weight: float) -> LossTerms:
        """Mean of each side's rows (B,), the forget side times its weight."""
        retain, forget = losses.split([ctx.batch.retain.size, ctx.batch.forget.size])
        if len(forget) == 0:
            return LossTerms(retain=retain.mean())
        return LossTerms(retain=retain.mean(), forget=forget_weight * forget.mean())


@functools.lru_cache(maxsize=64)
def _timestep(schedule: NoiseSchedule, sigma: float) -> int:
    return schedule.timestep_from_noise_to_signal(sigma)
