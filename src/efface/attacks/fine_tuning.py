"""Attacks that learn, each at a few learning rates, and fine-tuning a copy of a model."""

from collections.abc import Callable
from typing import Annotated

from accelerate import Accelerator
from pydantic import Field

from efface.attacks.base import BudgetAttack, Case, Counts, Findings, Subject, Trials, cheapest
from efface.attacks.costs import Trial, point
from efface.attacks.goals import Examples
from efface.data.randomness import random_state_kept
from efface.data.source import ImageSource
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.sampling import OneStep
from efface.records import MULTI_STEP, Point
from efface.training.denoising import Denoising
from efface.training.settings import TrainSettings
from efface.training.stepper import Stepper

Rates = Annotated[tuple[Annotated[float, Field(gt=0, le=10)], ...], Field(min_length=1)]


class SweepingAttack(BudgetAttack):
    """Base of the attacks with a learning rate: every line is its best over `learning_rates`."""

    batch_size: int = Field(default=32, ge=1, le=100_000)
    """Rows of one step."""
    learning_rates: Rates
    """Learning rates, of which the best counts."""

    def again(self, trial: Trial, seed: int) -> BudgetAttack:
        return self.model_copy(update={"seed": seed, "learning_rates": (trial.rate,)})

    def notes(self, findings: Findings) -> list[str]:
        """What came of every rate, for the way that had half back for least."""
        line = cheapest(findings, "result")
        outcomes = [
            f"{rate.rate:g}: " + ("never" if rate.half is None else f"{rate.half:.3g}")
            for rate in findings.scale.rates(findings.trials[line])
        ]
        if len(outcomes) == 1:
            return super().notes(findings)
        listed = f"{line}: best of {len(outcomes)} learning rates; half of it back, by rate: "
        return [*super().notes(findings), listed + ", ".join(outcomes)]

    def describe_rates(self) -> str:
        """'best of 3 learning rates (0.00015, 0.0005, 0.0015)'."""
        listed = ", ".join(f"{rate:g}" for rate in self.learning_rates)
        if len(self.learning_rates) == 1:
            return f"learning rate {listed}"
        return f"best of {len(self.learning_rates)} learning rates ({listed})"


class FineTuningAttack(SweepingAttack):
    """Base of the attacks that train the model: the denoising loss at all timesteps, all weights.

    A one-step generator has the architecture of the model it was made from, and is trained on that
    model's whole schedule as well; it is then sampled in its one step and in many steps.
    """

    steps: Counts = (5, 10, 20, 50)
    """Steps of fine-tuning after which a model is sampled."""
    learning_rates: Rates = (1.5e-4, 5e-4, 1.5e-3)
    """Learning rates of AdamW, of which the best counts."""

    def find(self, case: Case, examples: str) -> Findings:
        """Attack all models with such examples."""
        trials = self.attack(case, case.with_weak(case.weak))
        return Findings(
            x_label="steps of fine-tuning",
            trials=trials,
            scale=self.scale_of(case),
            protocol=f"up to {trials['baseline'][0].images} {examples}, {self.batch_size} rows a "
            f"step, AdamW, {self.describe_rates()}; {self.describe_samples(case)}",
            weak=case.weak,
            examples=examples,
        )

    def fine_tuned(self, case: Case, name: str, subject: Subject, examples: Examples) -> Trials:
        """Train copies of a subject on the examples: a line per way of sampling."""
        samplers = {name: self.sampler_of(case, subject)}
        if isinstance(subject.sampler, OneStep):
            samplers[name + MULTI_STEP] = self.multi_step(case)

        def measure(step: int, denoiser: Denoiser) -> dict[str, Point]:
            return {
                line: point(step, self.measure_goal(case.goal, denoiser, sampler))
                for line, sampler in samplers.items()
            }

        trials: Trials = {line: [] for line in samplers}
        start = measure(0, subject.denoiser)
        for rate in self.learning_rates:
            course = [start, *self._fine_tune(subject.denoiser, examples, rate, measure)]
            for line in samplers:
                points = [measured[line] for measured in course]
                trials[line].append(Trial(points=points, images=len(examples), rate=rate))
        return trials

    def _fine_tune(
        self,
        denoiser: Denoiser,
        examples: Examples,
        rate: float,
        measure: Callable[[int, Denoiser], dict[str, Point]],
    ) -> list[dict[str, Point]]:
        """What is measured after each of `steps`."""
        settings = TrainSettings(
            batch_size=self.batch_size, learning_rate=rate, seed=self.seed, clip_norm=1.0
        )
        source = ImageSource(
            images=examples.x0.to(denoiser.device),
            table=examples.encode(denoiser),
            rows=self.batch_size,
            seed=self.seed,
            name="examples",
        )
        method, accelerator, course = Denoising(condition_dropout=0.0), Accelerator(), []
        networks = {
            name: own.to(accelerator.device) for name, own in method.networks(denoiser).items()
        }
        with random_state_kept():
            stepper = Stepper(method, networks, source, settings, accelerator)
            stepper.prepare()
            stepper.set_masks()
            for step in range(1, self.steps[-1] + 1):
                stepper.step(step - 1)
                if step in self.steps:
                    course.append(measure(step, networks[method.delivers]))
        return course
