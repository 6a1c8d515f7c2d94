"""Selective Amnesia: the label becomes noise, and weights that matter stay where they were."""

import itertools
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from efface.diffusion.denoiser import Condition, Denoiser
from efface.methods.base import LossTerms, StepContext, per_sample_sum
from efface.methods.labelled import LabelledMethod, Noised
from efface.methods.saliency import gradients

FISHER, ORIGINAL = "fisher/", "original/"


@dataclass(frozen=True, kw_only=True)
class SelectiveAmnesia(LabelledMethod):
    """L(x_u, c_f) + retain_weight L_R + fisher_weight sum F_i (theta_i - theta*_i)^2.

    x_u is uniform in [-1, 1] and becomes what the label generates; theta* are the original weights
    (Heng & Soh, NeurIPS 2023, arXiv 2305.10120, eq. 7 and 8). F is the mean over images of the
    squared gradient of the bound, a sum over all timesteps; `fisher_timesteps` of them stand for
    all.
    """

    fisher_weight: float = Field(
        default=10.0, ge=0, le=1e12, description="Weight of the penalty; published: 10."
    )
    fisher_images: int = Field(
        default=50, ge=1, le=1_000_000, description="Retained images whose gradients are squared."
    )
    fisher_timesteps: int = Field(
        default=20, ge=1, le=10_000, description="Timesteps of each image's bound."
    )

    title: ClassVar[str] = "Selective Amnesia"
    summary: ClassVar[str] = "the label becomes noise, under a Fisher penalty (baseline)"
    as_published: ClassVar[Mapping[str, Any]] = {
        "method.retain_weight": 1.0,
        "method.fisher_weight": 10.0,
        "train.steps": 20_000,
        "train.batch_size": 128,
        "train.learning_rate": 1e-4,
        "train.clip_norm": 1.0,
        "train.ema_decay": 0.9999,
    }
    repaired: ClassVar[str] = (
        "takes the Fisher information of images in [0, 1], for a model of images in [-1, 1]"
    )

    def forget_rows(self, ctx: StepContext, forget: Noised) -> tuple[Tensor, Tensor]:
        student = ctx.networks["student"]
        x_u = 2 * ctx.rng.uniforms(student.sample_shape)[-len(forget.t) :] - 1
        return student.schedule.add_noise(x_u, forget.eps, forget.t), forget.eps

    def prepare(self, contexts: Iterator[StepContext]) -> dict[str, Tensor]:
        first = next(contexts)
        student = first.networks["student"]
        named = dict(student.network.named_parameters())
        found = {ORIGINAL + name: p.detach().clone() for name, p in named.items()}
        fisher = {name: torch.zeros_like(p) for name, p in named.items()}
        rows = islice(_retained(itertools.chain([first], contexts)), self.fisher_images)
        for seed, (x0, condition) in enumerate(rows):
            bound = self._bound(student, x0, condition, seed)
            for name, part in gradients(student, bound).items():
                fisher[name] += part.square() / self.fisher_images
        return found | {FISHER + name: value for name, value in fisher.items()}

    def _bound(self, student: Denoiser, x0: Tensor, condition: Condition, seed: int) -> Tensor:
        """Sum over all timesteps of the denoising loss of one image (1, C, H, W): a scalar."""
        total, count = student.schedule.num_timesteps, self.fisher_timesteps
        generator = torch.Generator().manual_seed(seed)
        t = ((torch.arange(count) + torch.rand(count, generator=generator)) * total / count).long()
        eps = torch.randn(count, *x0.shape[1:], generator=generator).to(x0.device)
        t = t.to(x0.device)
        rows = condition[torch.zeros(count, dtype=torch.long)]
        x_t = student.schedule.add_noise(x0.expand_as(eps), eps, t)
        losses = per_sample_sum((student(x_t, t, rows).eps - eps).square())
        return losses.sum() * total / count

    def loss(self, phase: str, ctx: StepContext) -> LossTerms:
        terms = super().loss(phase, ctx)
        penalty = fisher_penalty(ctx.networks[phase], ctx.prepared)
        return LossTerms(
            retain=terms.retain + self.fisher_weight * penalty,
            forget=terms.forget,
            logs={"fisher_penalty": penalty.detach()},
        )


def fisher_penalty(student: Denoiser, prepared: Mapping[str, Tensor]) -> Tensor:
    """Sum of F_i (theta_i - theta*_i)^2 over all weights: a scalar."""
    total = torch.zeros((), device=student.device)
    for name, parameter in student.network.named_parameters():
        plain = name.removeprefix("module.")  # where several processes train
        moved = parameter - prepared[ORIGINAL + plain]
        total = total + (prepared[FISHER + plain] * moved.square()).sum()
    return total


def _retained(contexts: Iterator[StepContext]) -> Iterator[tuple[Tensor, Condition]]:
    """Retained images one by one, (1, C, H, W), with their conditions."""
    for ctx in contexts:
        side = ctx.batch.retain
        assert side.x0 is not None and side.condition is not None  # the source is labelled
        for row in range(side.size):
            one = slice(row, row + 1)
            yield side.x0[one], side.condition[one]
