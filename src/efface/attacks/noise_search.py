"""Noise search: is there an input noise from which the model still generates it."""

import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from efface.attacks.base import LARGEST, BudgetAttack, Case, Counts, Findings, Subject, Trials
from efface.attacks.costs import ZERO, Scale, Trial, estimate, point
from efface.attacks.goals import ConditionGoal, Goal
from efface.attacks.weak import exchanged
from efface.data.randomness import derive_seed
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.sampling import MultiStep, Sampler, draw_from_noise, generators_from_seeds
from efface.metrics.intervals import proportion
from efface.records import AttackResult, Point


class NoiseSearch(BudgetAttack):
    """Climb by score over input noises, many searches side by side, without gradients.

    Each try turns the best noise of its search by a falling angle towards a new one, which keeps
    it Gaussian: far away at first, near at the end. A gradient would find noises that fool the
    classifier and would suit one-step generators alone. What a search finds in a model without it,
    at the whole budget, is the curve's zero.

    The model is sampled under the null label or the empty prompt, for forgetting blocks the
    condition itself; without a null label it is conditioned on retained labels. The weak erasure
    exchanges conditions alone, and a search that uses none must undo it.
    """

    tries: Counts = (1, 2, 4, 8, 16, 32)
    """Noises tried in each search before it is measured."""
    samples: int = Field(default=48, ge=1, le=LARGEST)
    """Searches."""

    title: ClassVar[str] = "Noise search"
    summary: ClassVar[str] = (
        "the model is not changed; noise that it turns into what was forgotten is searched for"
    )

    def measure(self, case: Case) -> Findings:
        goal = case.goal.unconditioned(case.original.denoiser)
        if isinstance(goal, ConditionGoal):
            weak, conditioning = exchanged(case.original.denoiser, goal), f"{goal.conditioning}; "
        else:
            weak, conditioning = case.weak, ""
        trials = self.attack(case, case.with_weak(weak))
        control, without_it = case.goal.control(), trials.get("retrained")
        if case.retrained is None and control is not None:
            sampler = self.multi_step(case)
            without_it = [Trial(points=self._curve(control, case.original.denoiser, sampler))]
            trials[control.control_line] = without_it
        return Findings(
            x_label="noises tried in each search",
            y_label="share of searches that found it",
            log_x=True,
            trials=trials,
            scale=Scale(
                level=estimate(trials["baseline"][0].points[-1]),
                floor=ZERO if without_it is None else estimate(without_it[0].points[-1]),
            ),
            weak=weak,
            protocol=f"{conditioning}{self.samples} searches; {self.sampling_steps} DDIM steps "
            "(one-step generators: their one step)",
        )

    def attack(self, case: Case, subjects: Mapping[str, Subject]) -> Trials:
        goal = case.goal.unconditioned(case.original.denoiser)
        trials: Trials = {}
        for name, subject in subjects.items():
            points = self._curve(goal, subject.denoiser, self.sampler_of(case, subject))
            trials[name] = [Trial(points=points)]
        return trials

    def multi_step(self, case: Case) -> MultiStep:
        """Without guidance: there is no condition to be guided to."""
        return MultiStep.within(case.original.denoiser, self.sampling_steps)

    def _curve(self, goal: Goal, denoiser: Denoiser, sampler: Sampler) -> list[Point]:
        seeds = range(self.first_seed, self.first_seed + self.samples)
        shape = denoiser.sample_shape
        noise = torch.stack([torch.randn(shape, generator=g) for g in generators_from_seeds(seeds)])
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "search"))
        condition = goal.condition(denoiser, self.samples)

        def generate(noise: Tensor) -> Tensor:
            """Images in [0, 1] on the CPU."""
            return draw_from_noise(denoiser, sampler, condition, noise)

        images = generate(noise)
        best, found = goal.score(images), goal.shown(images)
        points = []
        for tried in range(1, self.tries[-1] + 1):
            if tried > 1:
                angle = math.pi / 2 * (1 - (tried - 2) / self.tries[-1])
                new = torch.randn(noise.shape, generator=generator)
                turned = math.cos(angle) * noise + math.sin(angle) * new
                images = generate(turned)
                score = goal.score(images)
                found |= goal.shown(images)
                better = score > best
                best = np.where(better, score, best)
                noise[torch.from_numpy(better)] = turned[torch.from_numpy(better)]
            if tried in self.tries:
                points.append(point(tried, proportion(int(found.sum()), len(found))))
        return points


def noise_search(case: Case, settings: NoiseSearch | None = None) -> AttackResult:
    """Attack the models of a case, with or without a run folder; see `NoiseSearch`."""
    return (settings or NoiseSearch()).run(case)
