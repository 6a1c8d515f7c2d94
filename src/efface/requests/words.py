"""What a report asks of a kind of request: how it is judged, and in which words (no torch)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from efface.evaluation.wording import format_count, format_value, shorten
from efface.records import Evaluation, Result, RunRecord
from efface.requests.glossary import OTHER, TERMS, Term
from efface.requests.states import COLLAPSE, NO_OP, Forgotten, Kept


@dataclass(frozen=True, kw_only=True)
class Phrases:
    """What sentences call the forgotten thing and the rest."""

    forgotten: str  # "class 4"
    rest: str  # "the other nine classes"
    requested: str  # a sentence on what was to be done
    many: bool = False  # whether the forgotten thing is in the plural

    @property
    def are(self) -> str:
        return "are" if self.many else "is"

    @property
    def they(self) -> str:
        return "they" if self.many else "it"

    @property
    def them(self) -> str:
        return "them" if self.many else "it"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A figure that a judgement rests on, as a reader sees it."""

    result: Result
    value: str
    meaning: str  # of the value, behind it
    beside: Mapping[str, str]  # the same of other models, by their names
    said: str  # what it says, without the other models

    @property
    def clause(self) -> str:
        """'it appeared in 0 of 500 samples (original model: 497)'."""
        others = "; ".join(f"{model}: {value}" for model, value in self.beside.items())
        return f"{self.said} ({others})"


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Whether it is gone, what became of the rest, and what says so; most telling first."""

    forgotten: Forgotten
    kept: Kept
    forget: tuple[Evidence, ...] = ()
    retain: tuple[Evidence, ...] = ()
    guarded: bool = False  # whether a guard saw the samples of the original model again
    one_step: bool = False  # whether all that changed comes from sampling in one step
    overshot: bool = False  # whether it was forgotten beyond what was never seen


class Words(ABC):
    """What a report says of a kind of request: a function of JSON alone."""

    label: ClassVar[str]  # of such runs in a comparison
    forgets: ClassVar[bool] = True
    made: ClassVar[str] = "after forgetting"  # what became of a model, in the title of its card
    unmeasured: ClassVar[str] = ""  # what it takes to measure such a run
    unknown: ClassVar[str] = ""  # what is not known without attacks
    terms: ClassVar[Mapping[str, Term]] = {}

    def term(self, metric: str) -> Term:
        """A metric in words; one that is not known here goes by its own name."""
        unknown = Term(metric.replace("_", " "), OTHER, "")
        return self.terms.get(metric) or TERMS.get(metric) or unknown

    @abstractmethod
    def phrases(self, record: RunRecord, names: Mapping[int, str]) -> Phrases:
        """What sentences say of the request; `names` are those of labels."""

    @abstractmethod
    def anonymous(self, record: RunRecord) -> str:
        """What was forgotten, without any name, prompt or file name."""

    @abstractmethod
    def judge(self, record: RunRecord, evaluation: Evaluation, phrases: Phrases) -> Judgement:
        """What became of the forgotten thing and of the rest."""

    def task(self, record: RunRecord) -> str | None:
        """The pipeline tag of a model card."""
        del record
        return None

    def measured_with(self, evaluation: Evaluation) -> str:
        """A sentence on the network that decides."""
        del evaluation
        return ""

    def limits(self, record: RunRecord, evaluation: Evaluation) -> list[str]:
        """Sentences on what such a report does not claim."""
        del record, evaluation
        return []

    def figure(self, result: Result, one_step: bool = False) -> Evidence:
        """Evidence by a metric's own name: 'Recall: 70.0 % (original model: 90.0 %)'."""
        term = self.term(result.metric)
        value = format_value(result.value, result.unit)
        return Evidence(
            result=result,
            value=value,
            meaning=term.label,
            beside=beside(result, lambda v: format_value(v, result.unit), one_step),
            said=f"{term.label}: {value}",
        )

    def figures(
        self, results: Sequence[Result | None], one_step: bool = False
    ) -> tuple[Evidence, ...]:
        """Evidence of those that were measured."""
        return tuple(self.figure(result, one_step) for result in results if result is not None)


def counted(
    rate: Result, happened: str, shows: str, samples: str = "samples", one_step: bool = False
) -> Evidence:
    """Evidence by a count: 'it appeared in 0 of 500 samples (original model: 497)'."""

    def count(share: float) -> str:
        return format_count(round(share * rate.samples))

    of = f"{count(rate.value)} of {format_count(rate.samples)}"
    return Evidence(
        result=rate,
        value=of,
        meaning=f"{samples} {shows}",
        beside=beside(rate, count, one_step),
        said=f"{happened} {of} {samples}",
    )


def counts(rate: Result) -> tuple[int, int]:
    """In how many samples of the original model it was found, and in how many of this one."""
    return round(rate.baseline.value * rate.samples), round(rate.value * rate.samples)


def beside(result: Result, write: Callable[[float], str], one_step: bool = False) -> dict[str, str]:
    """A figure of the models that it is compared with, by their names."""
    values = {"original model": result.baseline, "retrained model": result.retrained}
    if one_step:
        values["original model in one step"] = result.baseline_one_step
    return {
        model: write(value.value)
        for model, value in values.items()
        if value is not None and math.isfinite(value.value)
    }


def judge_guarded(evaluation: Evaluation, forgotten: Forgotten, kept: Kept) -> dict[str, Any]:
    """Both states of a judgement; a guard that named one has the last word."""
    guarded = NO_OP in evaluation.guards
    if guarded and forgotten != "not_asked":
        forgotten = "unchanged"
    kept = "broken" if COLLAPSE in evaluation.guards else kept
    return {"forgotten": forgotten, "kept": kept, "guarded": guarded}


def source_of(record: RunRecord) -> str:
    return shorten(str(record.model.get("source")))
