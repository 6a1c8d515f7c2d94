"""Benign fine-tuning: does it come back by itself when the model is trained on what stays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from efface.attacks.base import ASKED, Case, Findings
from efface.attacks.fine_tuning import FineTuningAttack
from efface.records import Point


@dataclass(frozen=True, kw_only=True)
class BenignFinetune(FineTuningAttack):
    """Fine-tune on retained images alone, as any later user might (arXiv 2410.08074).

    Of a class or concept the original model draws them under the other labels or prompts.
    """

    images: int = 256  # at most
    steps: tuple[int, ...] = (5, 20, 50, 100)

    summary: ClassVar[str] = "fine-tune on retained data alone"
    kinds: ClassVar[frozenset[str]] = frozenset({*ASKED, "images"})

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
