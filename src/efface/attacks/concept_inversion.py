"""Condition inversion: is there a vector that recalls it from the frozen network."""

from collections.abc import Iterator, Mapping
from typing import ClassVar

import torch
from pydantic import Field

from efface.attacks.base import LARGEST, Case, Counts, Findings, Subject, Trials
from efface.attacks.conditions import Learned, with_learned_condition
from efface.attacks.costs import Trial, point
from efface.attacks.fine_tuning import Rates, SweepingAttack
from efface.attacks.goals import ConditionGoal, Examples, Goal
from efface.attacks.weak import exchanged, noise_loss
from efface.data.randomness import derive_seed
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.sampling import OneStep
from efface.records import AttackResult, Point

HIDDEN = "weak_neggrad_at_one_step"


class ConceptInversion(SweepingAttack):
    """Learn the embedding of the forgotten condition by the denoising loss (textual inversion).

    The network is frozen and a label's vector starts at the mean of the retained ones (Gal et al.,
    2022; as an attack, Pham et al., arXiv 2308.01508). A prompt's is all that the text encoders
    return, every token of it, and starts at a retained prompt: it can express more than any prompt.
    A one-step generator works at one timestep alone, and its loss is taken there.

    The weak erasure of the self-test exchanges conditions, which a vector can undo. NegGrad at one
    step, the weak erasure of fine-tuning attacks, is measured too but is no test: whether a vector
    undoes a change of the network is what the attack finds out.
    """

    images: int = Field(default=16, ge=1, le=LARGEST)
    """Examples, at most."""
    steps: Counts = (10, 25, 50, 100)
    """Steps of optimisation after which a model is sampled."""
    learning_rates: Rates = (0.03, 0.1, 0.3)
    """Learning rates of Adam as shares of an embedding's typical entry."""

    title: ClassVar[str] = "Concept inversion"
    summary: ClassVar[str] = (
        "the model is not changed; a condition that recalls what was forgotten is searched for"
    )
    goals: ClassVar[tuple[type[Goal], ...]] = (ConditionGoal,)

    def measure(self, case: Case) -> Findings:
        goal, original = case.goal, case.original.denoiser
        assert isinstance(goal, ConditionGoal)  # `goals`
        weak = exchanged(original, goal)
        hidden = Subject(denoiser=case.weak.denoiser, sampler=case.original.sampler)
        trials = self.attack(case, case.with_weak(weak) | {HIDDEN: hidden})
        return Findings(
            x_label="steps of optimising the condition",
            trials=trials,
            scale=self.scale_of(case),
            protocol=f"{trials['baseline'][0].images} {goal.examples}, {self.batch_size} rows a "
            f"step, Adam, {self.describe_rates()} of an entry; {self.describe_samples(case)}",
            weak=weak,
            examples=goal.examples,
        )

    def attack(self, case: Case, subjects: Mapping[str, Subject]) -> Trials:
        examples = case.goal.forgotten(case.original.denoiser, self.images, self.seed)
        return {
            name: [
                Trial(
                    points=self._curve(case, subject, examples, rate),
                    images=len(examples),
                    rate=rate,
                )
                for rate in self.learning_rates
            ]
            for name, subject in subjects.items()
        }

    def _curve(self, case: Case, subject: Subject, examples: Examples, rate: float) -> list[Point]:
        goal = case.goal
        assert isinstance(goal, ConditionGoal)  # `goals`
        denoiser, learned = with_learned_condition(subject.denoiser, goal.sought, goal.others)
        sampler = self.sampler_of(case, subject)
        only = sampler.t_init if isinstance(sampler, OneStep) else None
        points = [point(0, self.measure_goal(goal, denoiser, sampler))]
        for step in self._invert(denoiser, learned, examples, rate, only):
            if step in self.steps:
                points.append(point(step, self.measure_goal(goal, denoiser, sampler)))
        return points

    def _invert(
        self,
        denoiser: Denoiser,
        learned: list[Learned],
        examples: Examples,
        rate: float,
        only: int | None,
    ) -> Iterator[int]:
        """Optimise the learned rows at all timesteps, or at `only` one, step by step.

        The Trainer updates whole networks, and here only a few vectors may move.
        """
        groups = [{"params": [t.rows], "lr": rate * t.scale} for t in learned]
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
            yield step


def concept_inversion(case: Case, settings: ConceptInversion | None = None) -> AttackResult:
    """Attack the models of a case, with or without a run folder; see `ConceptInversion`."""
    return (settings or ConceptInversion()).run(case)
