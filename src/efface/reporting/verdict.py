"""What a run amounts to, costs and does not claim: a pure function of its records."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from efface.evaluation.wording import (
    describe_hardware,
    format_count,
    format_duration,
    format_share,
    is_share,
    join_words,
    plural,
)
from efface.records import Attacks, Evaluation, RunRecord
from efface.reporting.attack_words import tell_resistance
from efface.reporting.findings import Answer, Findings, find_forgotten, find_retained, is_unchanged
from efface.reporting.resistance import Resistance, find_resistance
from efface.reporting.sentences import tell_forgotten, tell_headline, tell_lead, tell_retained
from efface.requests import is_request, read_request, words_of
from efface.requests.words import Words

KINDS = {"yes": "good", "no": "bad"}  # of marks; what is neither is a warning
MARKS: dict[str, dict[Answer, str]] = {
    "Forgotten": {"yes": "forgotten", "no": "not forgotten"},
    "Retained": {"yes": "preserved", "no": "damaged", "inconclusive": "damage not ruled out"},
    "Resists": {"yes": "did not come back", "no": "comes back"},
}


@dataclass(frozen=True)
class Judgement:
    """One answer with the figures that it rests on, in a sentence or more."""

    title: str
    mark: tuple[str, str]  # good, warn or bad, and a word or two
    text: str
    source: str  # what it was read from, as it ends that part's anchor


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Three answers, each with the figures that it rests on, and what a reader is told of them."""

    headline: str
    lead: str
    judgements: tuple[Judgement, ...]
    forgotten: Findings
    retained: Findings
    resistance: Resistance
    caveats: list[str]

    @property
    def answers(self) -> dict[str, Answer]:
        return {
            "forget": self.forgotten.answer,
            "retain": self.retained.answer,
            "resist": self.resistance.answer,
        }

    @property
    def summary(self) -> str:
        """'forget: yes, retain: yes, resist: not measured'."""
        return ", ".join(f"{k}: {v.replace('_', ' ')}" for k, v in self.answers.items())


def judge_run(
    record: RunRecord,
    evaluation: Evaluation,
    names: Mapping[int, str] | None = None,
    attacks: Attacks | None = None,
) -> Verdict:
    """Judge a run; what was forgotten is only ever judged together with what happened to the rest.

    `names` are the names of labels, where they have any. DataError for a request of another
    version or package.
    """
    words = words_of(record.request)
    phrases = words.phrases(record, names or {})
    forgotten, retained = find_forgotten(evaluation), find_retained(evaluation)
    resistance = find_resistance(record, attacks)
    gone = _judgement(
        "Forgotten",
        forgotten.answer,
        tell_forgotten(evaluation, forgotten, phrases),
        "how-change" if is_unchanged(evaluation) else _source(evaluation, forgotten),
    )
    rest = _judgement(
        "Retained",
        retained.answer,
        tell_retained(retained, phrases),
        "how-change" if evaluation.broken else _source(evaluation, retained),
    )
    source = "attacks" if resistance.findings else ""
    resists = _judgement("Resists", resistance.answer, tell_resistance(resistance), source)
    cost = Judgement("Cost", *tell_cost(record, evaluation), "facts-run")
    return Verdict(
        headline=tell_headline(evaluation, forgotten, retained, resistance, phrases, words),
        lead=tell_lead(record, evaluation, words, phrases),
        judgements=(gone, rest, resists, cost) if words.forgets else (rest, cost),
        forgotten=forgotten,
        retained=retained,
        resistance=resistance,
        caveats=caveats(record, evaluation, forgotten, words, resistance),
    )


def _judgement(title: str, answer: Answer, text: str, source: str) -> Judgement:
    words = MARKS[title].get(answer, answer.replace("_", " "))
    return Judgement(title, (KINDS.get(answer, "warn"), words), text, source)


def _source(evaluation: Evaluation, findings: Findings) -> str:
    if findings.decisive is None:
        return ""
    return f"how-{evaluation.results.index(findings.decisive.result)}"


def passes_per_image(record: RunRecord, evaluation: Evaluation) -> tuple[int | None, int | None]:
    """Network passes that one image takes from the original model, and from the result.

    At the guidance that was set, or else at the one that the evaluation chose.
    """
    passes = record.sampler.get("passes")
    after = passes if isinstance(passes, int) else None
    evaluate: Any = record.settings.get("evaluate")
    if not is_request(record.request) or not isinstance(evaluate, dict):
        return None, after
    request = read_request(record.request)
    before = evaluate.get("baseline_steps")
    guidance = evaluate.get("guidance")
    guidance = evaluation.guidance if guidance is None else guidance
    if isinstance(before, int) and request.guided and guidance != 1.0:
        before *= 2
    before = before if isinstance(before, int) else None
    return before, before if request.same_sampler else after


def tell_variety(evaluation: Evaluation) -> str:
    """What one step cost in variety, in the view that lost most of it, and the alternative."""
    seen = [result for result in evaluation.results if result.metric == "recall"]
    lost = max(seen, key=lambda result: result.baseline.value - result.value, default=None)
    figures = ""
    if lost is not None:
        if lost.value >= lost.baseline.value:
            return ""
        before, after = format_share(lost.baseline.value), format_share(lost.value)
        figures = f" (recall {after}, original model: {before})"
    return (
        f" One step costs variety{figures}; `--result same-sampler` keeps the original model's "
        "sampler and its variety."
    )


def tell_cost(record: RunRecord, evaluation: Evaluation) -> tuple[tuple[str, str], str]:
    """A mark and a word or two, and a sentence or two."""
    took = "How long training took is not recorded"
    if record.seconds is not None:
        took = f"Training took {format_duration(record.seconds)}"
    took += f" ({describe_hardware(record.hardware)})"
    if record.forwards is not None:
        took += f" and {format_count(record.forwards)} network forwards"
    took += "."
    before, after = passes_per_image(record, evaluation)
    mark = "warn", "passes per image not recorded"
    if after is None:
        return mark, took
    passes = f"{format_count(after)} network {plural(after, 'pass', 'passes')} per image"
    if before is None:
        return mark, f"{took} Sampling takes {passes}."
    mark = "good" if after <= before else "warn", passes
    text = f"{took} Sampling takes {passes} (original model: {format_count(before)})."
    has_choice = after == 1 < before and bool(read_request(record.request).results)
    return mark, text + tell_variety(evaluation) if has_choice else text


def caveats(
    record: RunRecord,
    evaluation: Evaluation,
    forgotten: Findings,
    words: Words,
    resistance: Resistance,
) -> list[str]:
    """Sentences on the limits of what was measured."""
    said = []
    if words.forgets:
        said += [
            "That a model no longer generates something is no proof that its influence is gone "
            "from the weights. This report shows the first, not the second.",
            _about_attacks(resistance, words.unknown),
        ]
    said += words.limits(record, evaluation)
    if not evaluation.results:
        return [*said, "Nothing was measured: the samples are an impression, not evidence."]
    said += dict.fromkeys(r.spec.caveat for r in evaluation.results if r.spec.caveat)
    said += _about_none(forgotten)
    said.append(_about_samples(evaluation))
    if any(result.spec.side == "retain" for result in evaluation.results):
        said.append(
            "The figures of retained samples are averages: they can hide damage to one kind of "
            "image among many. Those in a network's features depend on it and on the number of "
            "samples: compare them within this report, not with figures published elsewhere."
        )
    return said


def _about_attacks(resistance: Resistance, unknown: str) -> str:
    if resistance.stale:
        return f"The attacks on file were run on other weights than this run's. {unknown}"
    if resistance.answer == "not_measured":
        return f"No attack was run. {unknown}"
    return (
        "What the attacks that were run did not find, with the budgets that they were given, may "
        "still be found by another, or by the same with more."
    )


def _about_none(forgotten: Findings) -> list[str]:
    """Up to which rate something may still happen that was in no sample."""
    for result in (finding.result for finding in forgotten.found):
        counts = result.spec.event is not None and is_share(result.unit)
        if counts and round(result.value * result.samples) == 0:
            samples, rate = format_count(result.samples), format_share(result.high)
            return [f"0 of {samples} samples leave room for a rate of up to {rate}."]
    return []


def _about_samples(evaluation: Evaluation) -> str:
    sizes = join_words([format_count(n) for n in sorted({r.samples for r in evaluation.results})])
    return (
        f"The figures rest on {sizes} images each, from one training run. The 95 % intervals cover "
        "the choice of those images, not that of the training seed."
    )
