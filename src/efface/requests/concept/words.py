"""Rates by group of prompts, "concept_rate/KIND/NAME" or "kept_rate/KIND/NAME", in words."""

from __future__ import annotations

from typing import Literal

from efface.records import Evaluation
from efface.reporting.wording import shorten

Table = Literal["What must go", "What must stay"]
FOUND: dict[str, tuple[Table, str]] = {  # metric -> group of the table, what is found
    "concept_rate": ("What must go", "in which the concept is found"),
    "kept_rate": ("What must stay", "in which what the group looks for is found"),
}
KINDS = {  # of a group -> what it is called, what its prompts are
    "own": ("Own word", "pictures asked for by the concept"),
    "paraphrase": ("Paraphrase", "pictures asked for by other words for the concept"),
    "neighbour": ("Neighbour", "pictures asked for by something near to the concept"),
    "composition": ("Composition", "pictures asked for by the concept among other things"),
    "unrelated": ("Unrelated", "pictures asked for by what has nothing to do with the concept"),
}


def tell_group(metric: str) -> tuple[str, Table, str] | None:
    """Label, group of the table and meaning of a group's rate; None for another metric."""
    found, _, rest = metric.partition("/")
    kind, _, name = rest.partition("/")
    if found not in FOUND or kind not in KINDS:
        return None
    (table, what), (called, asked) = FOUND[found], KINDS[kind]
    return f"{called}: {shorten(name)}", table, f"{asked} {what}"


def find_detector(evaluation: Evaluation) -> str | None:
    """The detector that the verdict rests on; None where it is a judge or a CLIP."""
    rate = evaluation.get("concept_rate")
    if rate is None or evaluation.get("unlearning_accuracy") is not None:
        return None
    extractor = rate.extractor or {}
    return extractor.get("name") if extractor.get("kind") == "detector" else None
