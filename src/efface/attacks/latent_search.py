"""Latent search: is there an input noise from which the model still draws it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from efface.attacks.base import ASKED, NOTHING, Attack, Case, Findings, Subject, estimate, point
from efface.attacks.goals import ConditionGoal, Goal
from efface.attacks.weak import renamed
from efface.data.randomness import derive_seed
from efface.diffusion.sampling import (
    MultiStep,
    Sampler,
    draw_from_noise,
    generators_from_seeds,
)
from efface.metrics.intervals import proportion
from efface.records import Point


@dataclass(frozen=True, kw_only=True)
class LatentSearch(Attack):
    """Climb by score over input noises, many searches side by side, without gradients.

    Each try turns the best noise of its search by a falling angle towards a new one, which keeps
    it Gaussian: from anywhere at first to close by at the end. A gradient would find noises that
    fool the judge and would suit one-step generators alone. What a search makes of a model that
    never knew, at the whole budget, is the curve's zero.

    The model is asked for nothing, by its null label or the empty prompt, for asking by name is
    what forgetting blocks; without a null label it is asked for labels that stay. The weak erasure
    exchanges names alone, and a search that uses none must find what they meant.
    """

    tries: tuple[int, ...] = (1, 2, 4, 8, 16, 32)  # at which it is measured
    samples: int = 48  # searches

    summary: ClassVar[str] = "search the input noise for what still draws it"
    kinds: ClassVar[frozenset[str]] = frozenset({*ASKED, "images"})

    def measure(self, case: Case) -> Findings:
        goal = case.goal.unnamed(case.original.denoiser)
        weak, asks = None, ""
        if isinstance(goal, ConditionGoal):
            weak, asks = renamed(case.original.denoiser, goal), f"{goal.asks}; "
        lines: dict[str, list[Point]] = {}
        for name, subject in case.subjects(weak).items():
            lines[name] = self._line(goal, subject, self.own_sampler(case, subject))
        control = case.goal.control()
        if case.retrained is None and control is not None:
            steps = self.many_steps(case)
            lines[control.control_line] = self._line(control, case.original, steps)
        never_knew = lines.get("retrained", lines.get(case.goal.control_line))
        return Findings(
            x_label="noises tried in each search",
            log_x=True,
            lines=lines,
            level=estimate(lines["baseline"][-1]),
            floor=NOTHING if never_knew is None else estimate(never_knew[-1]),
            weak=weak,
            protocol=f"{asks}{self.samples} searches; {self.sampling_steps} DDIM steps, or the one "
            "step of a one-step generator",
        )

    def many_steps(self, case: Case) -> MultiStep:
        """Without guidance: what is asked for is nothing to be led to."""
        del case
        return MultiStep(self.sampling_steps)

    def y_label(self, case: Case) -> str:
        del case
        return "share of searches that found it"

    def _line(self, goal: Goal, subject: Subject, sampler: Sampler) -> list[Point]:
        denoiser = subject.denoiser
        seeds = range(self.first_seed, self.first_seed + self.samples)
        shape = denoiser.sample_shape
        noise = torch.stack([torch.randn(shape, generator=g) for g in generators_from_seeds(seeds)])
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "search"))
        condition = goal.condition(denoiser, self.samples)

        def draw(noise: Tensor) -> Tensor:
            """Images in [0, 1] on the CPU."""
            own = generators_from_seeds(range(len(noise)))
            return draw_from_noise(denoiser, sampler, condition, noise, own)

        images = draw(noise)
        best, found = goal.score(images), goal.shown(images)
        points = []
        for tried in range(1, self.tries[-1] + 1):
            if tried > 1:
                angle = math.pi / 2 * (1 - (tried - 2) / self.tries[-1])
                new = torch.randn(noise.shape, generator=generator)
                turned = math.cos(angle) * noise + math.sin(angle) * new
                images = draw(turned)
                score = goal.score(images)
                found |= goal.shown(images)
                better = score > best
                best = np.where(better, score, best)
                noise[torch.from_numpy(better)] = turned[torch.from_numpy(better)]
            if tried in self.tries:
                points.append(point(tried, proportion(int(found.sum()), len(found))))
        return points
