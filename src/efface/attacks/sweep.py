"""Attacks that learn, each tried at a few learning rates."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from efface.attacks.base import BudgetAttack, Findings, cheapest
from efface.attacks.costs import Trial

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
