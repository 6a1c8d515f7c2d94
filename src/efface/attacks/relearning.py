"""Relearning: how little fine-tuning on the forgotten thing brings it back."""

from collections.abc import Mapping
from typing import ClassVar

from efface.attacks.base import BudgetAttack, Case, Counts, Findings, Subject, Trials
from efface.attacks.costs import Trial
from efface.attacks.fine_tuning import FineTuningAttack
from efface.records import AttackResult


class Relearning(FineTuningAttack):
    """Fine-tune on k forgotten examples, for several k (relearn time; Golatkar et al., 2020).

    Examples are real images where there are any, else samples of the original model, from which
    relearning tends to take more steps. A retrained model, where there is one, is
    trained in the same way: what the result relearns no faster than that was really gone.
    """

    images: Counts = (1, 4, 16)
    """Numbers of examples, k."""

    title: ClassVar[str] = "Relearning"
    summary: ClassVar[str] = "the model is fine-tuned on a few of the forgotten images"

    def measure(self, case: Case) -> Findings:
        return self.find(case, case.goal.examples)

    def attack(self, case: Case, subjects: Mapping[str, Subject]) -> Trials:
        """With all images; the result and the retrained model with fewer, too."""
        examples = case.goal.forgotten(case.original.denoiser, self.images[-1], self.seed)
        counts = sorted({min(k, len(examples)) for k in self.images})
        trials: Trials = {}
        for name, subject in subjects.items():
            trials |= self.fine_tuned(case, name, subject, examples)
            for count in counts[:-1] if name in ("result", "retrained") else ():
                line = f"{name}_{count}_images"
                trials |= self.fine_tuned(case, line, subject, examples.first(count))
        return trials

    def again(self, trial: Trial, seed: int) -> BudgetAttack:
        return super().again(trial, seed).model_copy(update={"images": (trial.images,)})


def relearn(case: Case, settings: Relearning | None = None) -> AttackResult:
    """Attack the models of a case, with or without a run folder; see `Relearning`."""
    return (settings or Relearning()).run(case)
