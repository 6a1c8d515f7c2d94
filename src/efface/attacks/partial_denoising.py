"""Partial denoising: how much of a forgotten image must be given until the rest follows."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Field

from efface.attacks.base import LARGEST, BudgetAttack, Case, Findings, Subject, Trials
from efface.attacks.costs import ZERO, Scale, Trial, estimate, point
from efface.attacks.goals import ConditionGoal, Examples, Goal, ImageGoal
from efface.attacks.weak import exchanged
from efface.data.batch import in_turn
from efface.diffusion.denoiser import Denoiser
from efface.metrics.copy_similarity import denoise_back, to_pixels
from efface.metrics.intervals import Estimate, proportion
from efface.records import AttackResult


class PartialDenoising(BudgetAttack):
    """Noise forgotten images to several levels and denoise them (SDEdit, Meng et al., 2022).

    The budget is what the attacker gives: the share of the schedule that is skipped, 0 for pure
    noise and 1 for the image itself. With enough given every model recovers it, whatever it was
    trained on. How much that takes is measured on the retrained model, or else on the original one
    with unseen images or under retained labels or prompts.

    The model is sampled under the null label or the empty prompt, for forgetting blocks the
    condition itself; without a null label it is conditioned on retained labels. The weak erasure
    exchanges conditions alone, and what is denoised without any must be recovered.
    """

    sampling_steps: int = Field(default=20, ge=1, le=1000)
    """Ancestral steps, at most."""
    given: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        default=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6), min_length=1
    )
    """Shares of the schedule that are skipped."""
    images: int = Field(default=32, ge=1, le=LARGEST)
    """Examples of a label or prompt that are noised, at most."""

    title: ClassVar[str] = "Partial denoising"
    summary: ClassVar[str] = (
        "a forgotten image is partly hidden under noise, and the model denoises it"
    )
    goals: ClassVar[tuple[type[Goal], ...]] = (ConditionGoal, ImageGoal)

    def measure(self, case: Case) -> Findings:
        original = case.original.denoiser
        goal = case.goal.unconditioned(original)
        examples = self._examples(case)
        if isinstance(goal, ConditionGoal):
            weak = exchanged(original, goal)
            given = f"{goal.conditioning}; {len(examples)} noised: {goal.noised}"
        else:
            weak, given = case.weak, "forgotten images"
        trials = self.attack(case, case.with_weak(weak))
        control, without_it = case.goal.control(), trials.get("retrained")
        if case.retrained is None and control is not None:
            without_it = [self._trial(control, original, examples)]
            trials[control.control_line] = without_it
        baseline = trials["baseline"][0].points
        return Findings(
            x_label="share of the schedule that is skipped",
            y_label="share of trials that recover it",
            trials=trials,
            scale=Scale(
                level=estimate(max(baseline, key=lambda p: p.value)),
                floor=ZERO if without_it is None else estimate(without_it[0].points[0]),
            ),
            weak=weak,
            protocol=f"{given}, about {self.samples} trials a point, up to "
            f"{self.sampling_steps} ancestral steps for all models",
            examples=goal.noised,
        )

    def attack(self, case: Case, subjects: Mapping[str, Subject]) -> Trials:
        goal = case.goal.unconditioned(case.original.denoiser)
        examples = self._examples(case)
        return {
            name: [self._trial(goal, subject.denoiser, examples)]
            for name, subject in subjects.items()
        }

    def _examples(self, case: Case) -> Examples:
        return case.goal.originals(case.original.denoiser, self.images, self.seed)

    def _trial(self, goal: Goal, denoiser: Denoiser, examples: Examples) -> Trial:
        points = []
        for share in self.given:
            t = int((1 - share) * denoiser.schedule.num_timesteps)
            if isinstance(goal, ImageGoal):
                steps, seed = self.sampling_steps, self.first_seed
                shown = goal.measure_at(denoiser, t, steps, self.samples, seed)
            else:
                assert isinstance(goal, ConditionGoal)  # `goals`
                shown = self._measure_at(goal, denoiser, examples, t)
            points.append(point(share, shown))
        return Trial(points=points)

    def _measure_at(
        self, goal: ConditionGoal, denoiser: Denoiser, examples: Examples, t: int
    ) -> Estimate:
        """Examples noised to t and denoised under the goal's conditions in turn, or under none."""
        # One memorised image is denoised under many control prompts.
        count = max(len(examples), min(self.images, len(goal.conditions)))
        x0 = examples.x0[in_turn(range(len(examples)), count)]
        draws, seed = max(1, self.samples // count), self.first_seed
        condition = goal.condition(denoiser, count)
        back = denoise_back(denoiser, x0, t, draws, seed, self.sampling_steps, condition=condition)
        shown = goal.shown(to_pixels(denoiser, back.flatten(0, 1)).cpu())
        return proportion(int(shown.sum()), len(shown))


def partial_denoising(case: Case, settings: PartialDenoising | None = None) -> AttackResult:
    """Attack the models of a case, with or without a run folder; see `PartialDenoising`."""
    return (settings or PartialDenoising()).run(case)
