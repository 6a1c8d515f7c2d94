"""Relearning: how little fine-tuning on the forgotten thing brings it back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from efface.attacks.base import ASKED, Case, Findings
from efface.attacks.fine_tuning import FineTuningAttack
from efface.records import Point


@dataclass(frozen=True, kw_only=True)
class Relearn(FineTuningAttack):
    """Fine-tune on k examples of what was forgotten, several k.

    Of a class or concept the original model draws the examples, so no data set is needed; of
    pictures they are the pictures themselves, as many as there are. Beside it stands a model that
    never knew them, where there is one: what comes back no faster than it learns them was really
    gone.
    """

    images: tuple[int, ...] = (1, 4, 16)  # k

    summary: ClassVar[str] = "fine-tune on a few forgotten images or samples"
    kinds: ClassVar[frozenset[str]] = frozenset({*ASKED, "images"})

    def measure(self, case: Case) -> Findings:
        examples = case.goal.forgotten(case.original.denoiser, self.images[-1], case.seed)
        counts = sorted({min(k, len(examples)) for k in self.images})
        lines: dict[str, list[Point]] = {}
        used: dict[str, int] = {}
        for name, subject in case.subjects().items():
            found = self.lines(case, name, subject, examples)
            lines |= found
            used |= dict.fromkeys(found, counts[-1])
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
