"""Benign fine-tuning: is it recovered when the model is trained on what is retained."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from efface.attacks.base import LARGEST, Case, Counts, Findings, Subject, Trials
from efface.attacks.fine_tuning import FineTuningAttack
from efface.records import AttackResult


class BenignFineTuning(FineTuningAttack):
    """Fine-tune on retained images alone, as any later user might (Suriyakumar et al., 2024).

    Where labels or prompts were forgotten, these are samples of the original model under others.
    """

    images: int = Field(default=256, ge=1, le=LARGEST)
    """Retained images, at most."""
    steps: Counts = (5, 20, 50, 100)
    """Steps of fine-tuning after which a model is sampled."""

    title: ClassVar[str] = "Benign fine-tuning"
    summary: ClassVar[str] = "the model is fine-tuned on retained images, as any owner might do"

    def measure(self, case: Case) -> Findings:
        return self.find(case, "retained images")

    def attack(self, case: Case, subjects: Mapping[str, Subject]) -> Trials:
        examples = case.goal.retained(case.original.denoiser, self.images, self.seed)
        trials: Trials = {}
        for name, subject in subjects.items():
            trials |= self.fine_tuned(case, name, subject, examples)
        return trials


def benign_fine_tuning(case: Case, settings: BenignFineTuning | None = None) -> AttackResult:
    """Attack the models of a case, with or without a run folder; see `BenignFineTuning`."""
    return (settings or BenignFineTuning()).run(case)
