"""Benign fine-tuning: is it recovered when the model is trained on what is retained."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from efface.attacks.base import MOST, Case, Counts, Findings
from efface.attacks.fine_tuning import FineTuningAttack
from efface.attacks.goals import Goal
from efface.records import Point


class BenignFineTuning(FineTuningAttack):
    """Fine-tune on retained images alone, as any later user might (arXiv 2410.08074).

    Where labels or prompts were forgotten, these are samples of the original model under others.
    """

    images: int = Field(default=256, ge=1, le=MOST, description="Retained images, at most.")
    steps: Counts = Field(
        default=(5, 20, 50, 100), description="Steps of fine-tuning after which a model is sampled."
    )

    title: ClassVar[str] = "Benign fine-tuning"
    summary: ClassVar[str] = "the model is fine-tuned on retained images, as any owner might do"
    goals: ClassVar[tuple[type[Goal], ...]] = (Goal,)

    def measure(self, case: Case) -> Findings:
        examples = case.goal.retained(case.original.denoiser, self.images, case.seed)
        lines: dict[str, list[Point]] = {}
        for name, subject in case.subjects().items():
            lines |= self.lines(case, name, subject, examples)
        return Findings(
            x_label="steps of fine-tuning",
            lines=lines,
            level=self.level_of(case),
            floor=self.floor_of(case),
            protocol=self.describe(case, f"{len(examples)} retained images"),
        )
