"""Condition inversion: is there a vector that recalls it from the frozen network."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from pydantic import Field

from efface.attacks.base import MOST, Case, Counts, Findings, SamplingAttack, Subject, point
from efface.attacks.conditions import Learned, with_learned_condition
from efface.attacks.goals import ConditionGoal, Examples, Goal
from efface.attacks.weak import exchanged, noise_loss
from efface.data.randomness import derive_seed
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.sampling import OneStep
from efface.records import Point

HIDDEN = "weak_neggrad_at_one_step"


class ConceptInversion(SamplingAttack):
    """Learn the embedding of the forgotten condition by the denoising loss (textual inversion).

    The network is frozen and a label's vector starts at the mean of the retained ones (Gal et al.,
    2022; as an attack, Pham et al., arXiv 2308.01508). A prompt's is all that the text encoders
    return, every token of it, and starts at a retained prompt: it can express more than any prompt.
    A one-step generator works at one timestep alone, and its loss is taken there.

    The weak erasure of the self-test exchanges conditions, which a vector can undo. NegGrad at one
    step, the weak erasure of fine-tuning attacks, is measured too but is no test: whether a vector
    undoes a change of the network is what the attack finds out.
    """

    images: int = Field(
        default=16, ge=1, le=MOST, description="Examples, samples of the original model."
    )
    steps: Counts = Field(
        default=(10, 25, 50, 100),
        description="Steps of optimisation after which a model is sampled.",
    )
    batch_size: int = Field(default=32, ge=1, le=100_000, description="Rows of one step.")
    learning_rate: float = Field(
        default=0.1,
        gt=0,
        le=10,
        description="Learning rate as a share of an embedding's typical entry.",
    )

    title: ClassVar[str] = "Concept inversion"
    summary: ClassVar[str] = (
        "the model is not changed; a condition that recalls what was forgotten is searched for"
    )
    goals: ClassVar[tuple[type[Goal], ...]] = (ConditionGoal,)

    def measure(self, case: Case) -> Findings:
        goal, original = case.goal, case.original.denoiser
        assert isinstance(goal, ConditionGoal)  # `goals`
        examples = goal.forgotten(original, self.images, case.seed)
        weak = exchanged(original, goal)
        hidden = Subject(denoiser=case.weak.denoiser, sampler=case.original.sampler)
        lines = {
            name: self._line(case, goal, subject, examples)
            for name, subject in (case.subjects(weak) | {HIDDEN: hidden}).items()
        }
        return Findings(
            x_label="steps of optimising the condition",
            lines=lines,
            level=self.level_of(case),
            floor=self.floor_of(case),
            protocol=f"{len(examples)} images, {self.batch_size} rows a step, Adam at "
            f"{self.learning_rate:g} of an entry; {self.describe_samples(case)}",
            images=dict.fromkeys(lines, len(examples)),
            weak=weak,
        )

    def _line(
        self, case: Case, goal: ConditionGoal, subject: Subject, examples: Examples
    ) -> list[Point]:
        denoiser, learned = with_learned_condition(subject.denoiser, goal.sought, goal.others)
        sampler = self.sampler_of(case, subject)
        points: list[Point] = []

        def measure(step: int) -> None:
            points.append(point(step, self.measure_goal(goal, denoiser, sampler)))

        only = sampler.t_init if isinstance(sampler, OneStep) else None
        measure(0)
        self._invert(denoiser, learned, examples, only, measure)
        return points

    def _invert(
        self,
        denoiser: Denoiser,
        learned: list[Learned],
        examples: Examples,
        only: int | None,
        measure: Callable[[int], None],
    ) -> None:
        """Optimise the learned rows at all timesteps, or at `only` one.

        The Trainer updates whole networks, and here only a few vectors may move.
        """
        groups = [{"params": [t.rows], "lr": self.learning_rate * t.scale} for t in learned]
        optimizer = torch.optim.Adam(groups)
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "inversion"))
        device, shape = denoiser.device, (self.batch_size, *denoiser.sample_shape)
        x0, conditions = examples.x0.to(device), list(examples.conditions or [])
        for step in range(1, self.steps[-1] + 1):
            rows = torch.randint(len(x0), (self.batch_size,), generator=generator)
            t = torch.randint(
                denoiser.schedule.num_timesteps, (self.batch_size,), generator=generator
            )
            if only is not None:
                t = torch.full_like(t, only)
            eps = torch.randn(shape, generator=generator).to(device)
            optimizer.zero_grad(set_to_none=True)
            condition = denoiser.encode([conditions[row] for row in rows.tolist()])
            noise_loss(denoiser, x0[rows.to(device)], t.to(device), eps, condition).backward()
            optimizer.step()
            if step in self.steps:
                measure(step)
