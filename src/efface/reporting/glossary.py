"""What the metrics are called and mean, for a reader who is no engineer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Group = Literal["What must go", "What must stay", "Other figures"]


@dataclass(frozen=True, kw_only=True)
class Term:
    label: str
    group: Group
    meaning: str


TERMS: dict[str, Term] = {
    "unlearning_accuracy": Term(
        label="Unlearning accuracy",
        group="What must go",
        meaning="pictures asked for as the forgotten class in which the judge does not see it",
    ),
    "forgotten_probability": Term(
        label="Forgotten probability",
        group="What must go",
        meaning="probability that the judge gives to the forgotten class, on average",
    ),
    "forgotten_entropy": Term(
        label="Forgotten entropy",
        group="What must go",
        meaning="how undecided the judge is there: low where it sees something clear",
    ),
    "retained_accuracy": Term(
        label="Retained accuracy",
        group="What must stay",
        meaning="pictures of the other classes in which the judge sees what was asked for",
    ),
    "fid": Term(
        label="FID",
        group="What must stay",
        meaning="distance of the other classes' pictures from real ones",
    ),
    "precision": Term(
        label="Precision",
        group="What must stay",
        meaning="pictures of the other classes that look like real ones",
    ),
    "recall": Term(
        label="Recall",
        group="What must stay",
        meaning="how much of the variety of real pictures is drawn",
    ),
}
GROUPS: tuple[Group, ...] = ("What must go", "What must stay", "Other figures")


def explain(metric: str) -> Term:
    """Look a metric up; one that is not known here goes by its own name."""
    known = TERMS.get(metric)
    return known or Term(label=metric.replace("_", " "), group="Other figures", meaning="")
