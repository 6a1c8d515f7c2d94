"""Relearning: how little fine-tuning on the forgotten thing brings it back."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from efface.attacks.base import Case, Counts, Findings
from efface.attacks.fine_tuning import FineTuningAttack
from efface.attacks.goals import Goal
from efface.records import Point


class Relearning(FineTuningAttack):
    """Fine-tune on k forgotten examples, for several k.

    Examples of a class or concept are sampled from the original model, so no data set is needed;
    those of images are the images themselves, as many as there are. A retrained model, where there
    is one, is trained in the same way: what the result relearns no faster than that was really
    gone.
    """

    images: Counts = Field(default=(1, 4, 16), description="Numbers of examples, k.")

    title: ClassVar[str] = "Relearning"
    summary: ClassVar[str] = "the model is fine-tuned on a few of the forgotten images"
    goals: ClassVar[tuple[type[Goal], ...]] = (Goal,)

    def measure(self, case: Case) -> Findings:
        examples = case.goal.forgotten(case.original.denoiser, self.images[-1], case.seed)
        counts = sorted({min(k, len(examples)) for k in self.images})
        lines: dict[str, list[Point]] = {}
        used: dict[str, int] = {}
        for name, subject in case.subjects().items():
            curves = self.lines(case, name, subject, examples)
            lines |= curves
            used |= dict.fromkeys(curves, counts[-1])
            if name not in ("result", "retrained"):
                continue
            for count in counts[:-1]:
                few = self.lines(case, f"{name}_{count}_images", subject, examples.first(count))
                lines |= few
                used |= dict.fromkeys(few, count)
        return Findings(
            x_label="steps of fine-tuning",
            lines=lines,
            level=self.level_of(case),
            floor=self.floor_of(case),
            protocol=self.describe(case, f"up to {counts[-1]} forgotten images"),
            images=used,
        )
