"""Denoising from a noised forgotten image: how much of it must be given until the rest follows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from efface.attacks.base import ASKED, NOTHING, Attack, Case, Findings, estimate, point
from efface.attacks.goals import ConditionGoal, Examples, Goal, in_turn
from efface.attacks.image_goal import ImageGoal
from efface.attacks.conditions import asking, asking_nothing
from efface.attacks.weak import renamed
from efface.data.randomness import derive_seed
from efface.diffusion.denoiser import Denoiser
from efface.errors import ConfigError
from efface.metrics.copy_similarity import denoise_back
from efface.metrics.intervals import Estimate, proportion
from efface.records import Point


@dataclass(frozen=True, kw_only=True)
class DenoiseFromNoisy(Attack):
    """Noise forgotten images to several levels and denoise them (TINA, arXiv 2603.17828).

    The budget is what the attacker gives: the share of the schedule that is skipped, 0 for pure
    noise and 1 for the image itself. With enough given every model gives it back, whatever it
    knows. From where, says a line of the retrained model; or else, as "control", of the original
    one with pictures it never saw, or asked for labels that stay.

    The model is asked for nothing, by its null label or the empty prompt, for asking by name is
    what forgetting blocks; without a null label it is asked for labels that stay. The weak erasure
    exchanges names alone, and what is denoised without any must come back.
    """

    given: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
    images: int = 32  # at most, drawn by the original model; of a memorised picture itself

    summary: ClassVar[str] = "start from a noised forgotten image and denoise"
    kinds: ClassVar[frozenset[str]] = frozenset({*ASKED, "images"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.given[-1] >= 1:
            raise ConfigError(
                f"denoise_from_noisy.given is {list(self.given)}: these are shares of the "
                "schedule, give numbers between 0 and 1."
            )

    def measure(self, case: Case) -> Findings:
        original = case.original.denoiser
        goal = case.goal.unnamed(original)
        examples = goal.originals(original, self.images, case.seed)
        weak, given = None, f"up to {self.images} images"
        if isinstance(goal, ConditionGoal):
            weak = renamed(original, goal)
            given = f"{goal.asks}; noised images: {len(examples)}"
        lines = {
            name: self._line(goal, subject.denoiser, examples)
            for name, subject in case.subjects(weak).items()
        }
        control = case.goal.control()
        if case.retrained is None and control is not None:
            lines[control.control_line] = self._line(control, original, examples)
        never_knew = lines.get("retrained", lines.get(case.goal.control_line))
        return Findings(
            x_label="share of the schedule that is skipped",
            lines=lines,
            level=estimate(max(lines["baseline"], key=lambda p: p.value)),
            floor=NOTHING if never_knew is None else estimate(never_knew[0]),
            weak=weak,
            protocol=f"{given}, about {self.samples} tries a point, up to "
            f"{self.sampling_steps} ancestral steps for all models",
        )

    def y_label(self, case: Case) -> str:
        del case
        return "share of tries that end in the forgotten thing"

    def _line(self, goal: Goal, denoiser: Denoiser, examples: Examples) -> list[Point]:
        points = []
        for share in self.given:
            t = int((1 - share) * denoiser.schedule.num_timesteps)
            if isinstance(goal, ImageGoal):
                found = goal.put_back(
                    denoiser, t, self.sampling_steps, self.samples, self.first_seed
                )
            else:
                assert isinstance(goal, ConditionGoal)
                found = self._tries(goal, denoiser, examples, t)
            points.append(point(share, found))
        return points

    def _tries(self, goal: ConditionGoal, denoiser: Denoiser, examples: Examples, t: int) -> Estimate:
        """Examples noised to t and denoised under the goal's questions in turn, or under none."""
        # One memorised picture is denoised under many control prompts.
        count = max(len(examples), min(self.images, len(goal.asked)))
        x0 = examples.x0[in_turn(range(len(examples)), count)]
        draws = max(1, self.samples // count)
        shown = []
        for number, (asked, rows) in enumerate(_by_question(goal, denoiser, count)):
            seed = derive_seed(self.first_seed, number)
            back = denoise_back(asked, x0[rows], t, draws, seed, self.sampling_steps)
            decoded = denoiser.codec.decode(back.flatten(0, 1).to(denoiser.device))
            shown.append(goal.shown(decoded.clamp(-1, 1).add(1).div(2).cpu()))
        found = np.concatenate(shown)
        return proportion(int(found.sum()), len(found))


def _by_question(
    goal: ConditionGoal, denoiser: Denoiser, count: int
) -> Iterator[tuple[Denoiser, Tensor]]:
    """The model with each question fixed, and a mask of those of `count` rows that it is for."""
    if not goal.asked:
        yield asking_nothing(denoiser), torch.ones(count, dtype=torch.bool)
        return
    asked = goal.questions(count)
    for question in dict.fromkeys(asked):
        yield asking(denoiser, question), torch.tensor([other == question for other in asked])
