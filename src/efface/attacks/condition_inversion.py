"""Condition inversion: is there a vector that recalls it from the frozen network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch

from efface.attacks.base import ASKED, Attack, Case, Findings, Subject, point
from efface.attacks.goals import ConditionGoal, Examples
from efface.attacks.conditions import Learned, with_learned_condition
from efface.attacks.weak import noise_loss, renamed
from efface.data.randomness import derive_seed
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.sampling import OneStep
from efface.records import Point

HIDDEN = "weak_neggrad_at_one_step"


@dataclass(frozen=True, kw_only=True)
class ConditionInversion(Attack):
    """Learn the embedding of the forgotten label anew by the denoising loss (textual inversion).

    The network is frozen and the vector starts at the mean of the labels that stay (Gal et al.,
    2022; as an attack, Pham et al., arXiv 2308.01508). Of a concept it is what the text encoders
    say, all tokens of it, from a prompt that stays on: more than any prompt could say. A one-step
    generator knows one timestep, that at which it starts: its loss is taken there alone.

    The weak erasure of the self-test exchanges two labels or prompts, which a vector alone can
    undo. The one that fine-tuning has, NegGrad at one step, stands beside it and is no test:
    whether a vector undoes what was done to the network is what the attack finds out.
    """

    images: int = 16  # examples, drawn by the original model
    steps: tuple[int, ...] = (10, 25, 50, 100)  # at which it is measured, and at 0
    batch_size: int = 32
    learning_rate: float = 0.1  # as a share of an embedding's typical entry

    summary: ClassVar[str] = "learn a condition that recalls it, the network frozen"
    kinds: ClassVar[frozenset[str]] = ASKED

    def measure(self, case: Case) -> Findings:
        goal, original = case.goal, case.original.denoiser
        assert isinstance(goal, ConditionGoal)  # `kinds`
        examples = goal.forgotten(original, self.images, case.seed)
        weak = renamed(original, goal)
        lines: dict[str, list[Point]] = {}
        hidden = Subject(denoiser=case.weak.denoiser, sampler=case.original.sampler)
        for name, subject in (case.subjects(weak) | {HIDDEN: hidden}).items():
            lines[name] = self._line(case, goal, subject, examples)
        return Findings(
            x_label="steps of optimising the condition",
            lines=lines,
            level=self.level_of(case),
            floor=self.floor_of(case),
            protocol=f"{len(examples)} images, {self.batch_size} rows a step, Adam at "
            f"{self.learning_rate:g} of an entry; {self.sampled(case)}",
            images=dict.fromkeys(lines, len(examples)),
            weak=weak,
        )

    def _line(
        self, case: Case, goal: ConditionGoal, subject: Subject, examples: Examples
    ) -> list[Point]:
        denoiser, learned = with_learned_condition(subject.denoiser, goal.sought, goal.others)
        sampler = self.own_sampler(case, subject)
        points: list[Point] = []

        def look(step: int) -> None:
            points.append(point(step, self.plain(case, denoiser, sampler)))

        fixed = sampler.t_init if isinstance(sampler, OneStep) else None
        look(0)
        self._invert(denoiser, learned, examples, fixed, look)
        return points

    def _invert(
        self,
        denoiser: Denoiser,
        learned: list[Learned],
        examples: Examples,
        fixed: int | None,
        look: Callable[[int], None],
    ) -> None:
        """Optimise the learned rows; at timestep `fixed` alone, or at all.

        The Trainer updates whole networks, and here a few vectors are all that may move.
        """
        groups = [{"params": [t.rows], "lr": self.learning_rate * t.scale} for t in learned]
        optimizer = torch.optim.Adam(groups)
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "inversion"))
        device, shape = denoiser.device, (self.batch_size, *denoiser.sample_shape)
        x0, asked = examples.x0.to(device), list(examples.asked or [])
        for step in range(1, self.steps[-1] + 1):
            rows = torch.randint(len(x0), (self.batch_size,), generator=generator)
            t = torch.randint(
                denoiser.schedule.num_timesteps, (self.batch_size,), generator=generator
            )
            if fixed is not None:
                t = torch.full_like(t, fixed)
            eps = torch.randn(shape, generator=generator).to(device)
            optimizer.zero_grad(set_to_none=True)
            condition = denoiser.encode([asked[row] for row in rows.tolist()])
            noise_loss(denoiser, x0[rows.to(device)], t.to(device), eps, condition).backward()
            optimizer.step()
            if step in self.steps:
                look(step)
