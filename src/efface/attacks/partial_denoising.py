"""Partial denoising: how much of a forgotten image must be given until the rest follows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from efface.attacks.base import MOST, ZERO, Case, Findings, SamplingAttack, estimate, point
from efface.attacks.conditions import with_condition, without_condition
from efface.attacks.goals import ConditionGoal, Examples, Goal, in_turn
from efface.attacks.image_goal import ImageGoal
from efface.attacks.weak import exchanged
from efface.data.randomness import derive_seed
from efface.diffusion.denoiser import Denoiser
from efface.metrics.copy_similarity import denoise_back
from efface.metrics.intervals import Estimate, proportion
from efface.records import Point


class PartialDenoising(SamplingAttack):
    """Noise forgotten images to several levels and denoise them (SDEdit, Meng et al., 2022).

    The budget is what the attacker gives: the share of the schedule that is skipped, 0 for pure
    noise and 1 for the image itself. With enough given every model recovers it, whatever it was
    trained on. How much that takes is measured on the retrained model, or else on the original one
    with unseen images or under retained labels or prompts.

    The model is sampled under the null label or the empty prompt, for forgetting blocks the
    condition itself; without a null label it is conditioned on retained labels. The weak erasure
    exchanges conditions alone, and what is denoised without any must be recovered.
    """

    sampling_steps: int = Field(default=20, ge=1, le=1000, description="Ancestral steps, at most.")
    given: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        default=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6),
        min_length=1,
        description="Shares of the schedule that are skipped.",
    )
    images: int = Field(
        default=32,
        ge=1,
        le=MOST,
        description="Examples of a label or prompt that are noised, at most.",
    )

    title: ClassVar[str] = "Partial denoising"
    summary: ClassVar[str] = (
        "a forgotten image is partly hidden under noise, and the model denoises it"
    )
    goals: ClassVar[tuple[type[Goal], ...]] = (ConditionGoal, ImageGoal)

    def measure(self, case: Case) -> Findings:
        original = case.original.denoiser
        goal = case.goal.unconditioned(original)
        examples = goal.originals(original, self.images, case.seed)
        weak, given = None, "forgotten images"
        if isinstance(goal, ConditionGoal):
            weak = exchanged(original, goal)
            given = f"{goal.conditioning}; noised images: {len(examples)}"
        lines = {
            name: self._line(goal, subject.denoiser, examples)
            for name, subject in case.subjects(weak).items()
        }
        control = case.goal.control()
        if case.retrained is None and control is not None:
            lines[control.control_line] = self._line(control, original, examples)
        without_it = lines.get("retrained", lines.get(case.goal.control_line))
        return Findings(
            x_label="share of the schedule that is skipped",
            lines=lines,
            level=estimate(max(lines["baseline"], key=lambda p: p.value)),
            floor=ZERO if without_it is None else estimate(without_it[0]),
            weak=weak,
            protocol=f"{given}, about {self.samples} trials a point, up to "
            f"{self.sampling_steps} ancestral steps for all models",
        )

    def y_label(self, case: Case) -> str:
        return "share of trials that recover it"

    def _line(self, goal: Goal, denoiser: Denoiser, examples: Examples) -> list[Point]:
        points = []
        for share in self.given:
            t = int((1 - share) * denoiser.schedule.num_timesteps)
            if isinstance(goal, ImageGoal):
                steps, seed = self.sampling_steps, self.first_seed
                found = goal.measure_at(denoiser, t, steps, self.samples, seed)
            else:
                assert isinstance(goal, ConditionGoal)  # `goals`
                found = self._measure_at(goal, denoiser, examples, t)
            points.append(point(share, found))
        return points

    def _measure_at(
        self, goal: ConditionGoal, denoiser: Denoiser, examples: Examples, t: int
    ) -> Estimate:
        """Examples noised to t and denoised under the goal's conditions in turn, or under none."""
        # One memorised image is denoised under many control prompts.
        count = max(len(examples), min(self.images, len(goal.conditions)))
        x0 = examples.x0[in_turn(range(len(examples)), count)]
        draws = max(1, self.samples // count)
        shown = []
        for number, (model, rows) in enumerate(_by_condition(goal, denoiser, count)):
            seed = derive_seed(self.first_seed, number)
            back = denoise_back(model, x0[rows], t, draws, seed, self.sampling_steps)
            decoded = denoiser.codec.decode(back.flatten(0, 1).to(denoiser.device))
            shown.append(goal.shown(decoded.clamp(-1, 1).add(1).div(2).cpu()))
        found = np.concatenate(shown)
        return proportion(int(found.sum()), len(found))


def _by_condition(
    goal: ConditionGoal, denoiser: Denoiser, count: int
) -> Iterator[tuple[Denoiser, Tensor]]:
    """The model under each condition, and a mask of those of `count` rows that it is for."""
    if not goal.conditions:
        yield without_condition(denoiser), torch.ones(count, dtype=torch.bool)
        return
    conditions = in_turn(goal.conditions, count)
    for condition in dict.fromkeys(conditions):
        rows = torch.tensor([other == condition for other in conditions])
        yield with_condition(denoiser, condition), rows
