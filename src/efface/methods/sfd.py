"""SFD: score forgetting distillation, data-free forgetting with a one-step generator as result."""

import contextlib
import functools
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from efface.diffusion.denoiser import Condition, Denoiser
from efface.diffusion.sampling import OneStep
from efface.diffusion.schedule import NoiseSchedule
from efface.errors import ConfigError
from efface.methods.base import LossTerms, Method, Share, StepContext, Subject, per_sample_sum
from efface.methods.conditions import (
    by_side,
    choose_target,
    guide_teacher,
    replacement_directions,
)

Weight = Annotated[float, Field(ge=0, le=1e6)]
NoiseLevel = Annotated[float, Field(gt=0, le=1e6)]
Guidance = Annotated[float, Field(ge=0, le=1e3)]


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

    A student generates in one step; a fake score learns the student's distribution; the student is
    moved so that the teacher and the fake score agree on its samples. In forget rows the teacher is
    conditioned on the replacement instead; where there are several, so is the fake score. Losses
    are summed over pixels and averaged over the rows of a side. Noise levels are sigma_t / alpha_t
    and become timesteps of the model's own schedule; the defaults are those of the paper's CIFAR-10
    runs.
    """

    alpha: float = Field(
        default=1.2,
        ge=0,
        le=100,
        description="Weight of |delta|^2 against its cross term in the loss.",
    )
    fake_score_forget_weight: Weight = Field(
        default=0.01, description="Weight of forget rows in the fake score's loss."
    )
    student_forget_weight: Weight = Field(
        default=0.01, description="Weight of forget rows in the student's loss."
    )
    sigma_min: NoiseLevel = Field(
        default=0.137, description="Lowest noise level at which the scores are compared."
    )
    sigma_max: NoiseLevel = Field(
        default=13.0, description="Highest noise level at which the scores are compared."
    )
    sigma_init: NoiseLevel = Field(
        default=2.5, description="Noise level at which the student starts."
    )
    input_scale: Literal["unit", "published"] = Field(
        default="unit", description="Standard deviation of the start: 1, or sigma_t as published."
    )
    fake_score_rate: float = Field(
        default=3.0, gt=0, le=1e3, description="The fake score's learning rate over the student's."
    )
    forget_share: Share = Field(
        default=1.0, description="Forget rows per retained row; the expectation is the same."
    )
    share_student_pass: bool = Field(
        default=False, description="Serve both phases with one pass of the student."
    )
    stop_score_gradient: bool = Field(
        default=False,
        description="Cut the gradient through both scores, as Diff-Instruct and DMD do.",
    )
    fake_score_training_guidance: Guidance = Field(
        default=1.0, description="Guidance of the fake score while it is trained; 1 is none."
    )
    fake_score_guidance: Guidance = Field(
        default=1.0, description="Guidance of the fake score in the student's loss; 1 is none."
    )
    teacher_guidance: Guidance = Field(
        default=1.0, description="Guidance of the teacher; 1 is none."
    )
    fake_score_condition_dropout: Share = Field(
        default=0.0, description="Share of rows without a condition in the fake score's phase."
    )
    student_condition_dropout: Share = Field(
        default=0.0, description="Share of rows without a condition in the student's phase."
    )
    forget_warmup: Share = Field(
        default=0.0, description="Share of the run in which forget rows use the wider window."
    )
    warmup_sigma_min: NoiseLevel = Field(
        default=0.079, description="Lowest noise level of the wider window."
    )
    warmup_sigma_max: NoiseLevel = Field(
        default=128.86, description="Highest noise level of the wider window."
    )

    title: ClassVar[str] = "SFD"
    summary: ClassVar[str] = (
        "score forgetting distillation: data-free, the result generates in one step"
    )
    phases: ClassVar[tuple[str, ...]] = ("fake_score", "student")
    forgets: ClassVar[frozenset[Subject]] = frozenset({"conditions"})
    reads_negative: ClassVar[bool] = True
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
        for prefix in ("", "warmup_"):
            low, high = (getattr(self, f"{prefix}sigma_{end}") for end in ("min", "max"))
            if low >= high:
                raise ConfigError(
                    f"method.{prefix}sigma_min {low} is not below method.{prefix}sigma_max {high}: "
                    "give a window of noise levels, the lowest first."
                )
        dropouts = self.fake_score_condition_dropout, self.student_condition_dropout
        if self.share_student_pass and len(set(dropouts)) > 1:
            raise ConfigError(
                "method.share_student_pass takes one condition for both phases, and their "
                f"condition dropout is {dropouts[0]} and {dropouts[1]}: give both the same."
            )

    @property
    def guides_teacher(self) -> bool:
        """Whether the teacher is guided away from the null condition, or a negative prompt."""
        return self.teacher_guidance > 1.0

    def guided(self, network: str) -> bool:
        guidances = {
            "teacher": {self.teacher_guidance},
            "fake_score": {self.fake_score_guidance, self.fake_score_training_guidance},
        }
        return guidances.get(network, {1.0}) != {1.0}

    def networks(self, pretrained: Denoiser) -> dict[str, Denoiser]:
        dropouts = self.fake_score_condition_dropout, self.student_condition_dropout
        if self.guided("teacher") or self.guided("fake_score") or any(d > 0 for d in dropouts):
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

    def prepare(self, contexts: Iterator[StepContext]) -> dict[str, Tensor]:
        ctx = next(contexts)
        return replacement_directions(ctx, self.sampler(ctx.networks["teacher"]))

    def loss(self, phase: str, ctx: StepContext) -> LossTerms:
        if phase == "fake_score":
            return self._fake_score_loss(ctx)
        return self._student_loss(ctx)

    def _fake_score_loss(self, ctx: StepContext) -> LossTerms:
        """|| eps - eps_psi(alpha_t x + sigma_t eps, t, c) ||^2 on the student's own samples."""
        fake_score = ctx.networks["fake_score"]
        condition, _ = self._conditions(ctx, self.fake_score_condition_dropout)
        with contextlib.nullcontext() if self.share_student_pass else torch.no_grad():
            x = self._generate(ctx, condition)
        ctx.memo["x"] = x
        t, eps, x_t = self._noised(ctx, x.detach())
        seen = choose_target(ctx, condition, ctx.memo["z"])
        eps_psi = fake_score(x_t, t, seen, self.fake_score_training_guidance).eps
        return by_side(ctx, fake_score_loss(eps, eps_psi), self.fake_score_forget_weight)

    def _student_loss(self, ctx: StepContext) -> LossTerms:
        """The SiD loss; in forget rows the teacher is conditioned on the replacement."""
        teacher, fake_score = ctx.networks["teacher"], ctx.networks["fake_score"]
        condition, target = self._conditions(ctx, self.student_condition_dropout)
        x = ctx.memo["x"] if self.share_student_pass else self._generate(ctx, condition)
        target, seen = (choose_target(ctx, c, ctx.memo["z"]) for c in (target, condition))
        t, _, x_t = self._noised(ctx, x)
        with torch.no_grad() if self.stop_score_gradient else contextlib.nullcontext():
            p = teacher(x_t, t, target, *guide_teacher(ctx, target, self.teacher_guidance)).x0
            q = fake_score(x_t, t, seen, self.fake_score_guidance).x0
        return by_side(ctx, sid_loss(x, p, q, self.alpha), self.student_forget_weight)

    def _generate(self, ctx: StepContext, condition: Condition | None) -> Tensor:
        """X = g_theta(z, c), (B, C, H, W): one step from noise, never clamped."""
        student = ctx.networks["student"]
        z = ctx.memo["z"] = ctx.rng.normal(student.sample_shape)
        return self.sampler(student).draw(student, z, condition)

    def _noised(self, ctx: StepContext, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(t, eps, x_t) with t uniform over the window of noise levels."""
        schedule = ctx.networks["teacher"].schedule
        t = ctx.rng.integers(*self._window(ctx, schedule))
        eps = ctx.rng.normal(tuple(x.shape[1:]))
        return t, eps, schedule.add_noise(x, eps, t)

    def _window(
        self, ctx: StepContext, schedule: NoiseSchedule
    ) -> tuple[int, int] | tuple[Tensor, Tensor]:
        """First and one past the last timestep, wider for forget rows during the warm-up.

        Where they have several replacements it is to the end: which one noise becomes is decided
        at high levels.
        """
        low, high = _timestep(schedule, self.sigma_min), _timestep(schedule, self.sigma_max) + 1
        several = ctx.batch.forget.choices is not None
        if not several and ctx.step >= self.forget_warmup * ctx.steps:
            return low, high
        forget = (
            torch.arange(ctx.batch.size, device=schedule.alphas.device) >= ctx.batch.retain.size
        )
        return (
            torch.where(forget, _timestep(schedule, self.warmup_sigma_min), low),
            torch.where(forget, _timestep(schedule, self.warmup_sigma_max) + 1, high),
        )

    def _conditions(
        self, ctx: StepContext, dropout: float
    ) -> tuple[Condition | None, Condition | None]:
        """Condition and target of this phase; a share of the rows loses both."""
        condition, target = ctx.batch.condition, ctx.batch.target
        if dropout == 0 or condition is None or target is None:
            return condition, target
        if not (self.share_student_pass and "dropped" in ctx.memo):
            ctx.memo["dropped"] = ctx.rng.uniform() < dropout
            if ctx.batch.forget.keeps_condition:
                ctx.memo["dropped"][ctx.batch.retain.size :] = False
        dropped, null = ctx.memo["dropped"], ctx.networks["teacher"].empty(condition)
        return condition.where(dropped, null), target.where(dropped, null)


@functools.lru_cache(maxsize=64)
def _timestep(schedule: NoiseSchedule, sigma: float) -> int:
    return schedule.timestep_from_noise_to_signal(sigma)
