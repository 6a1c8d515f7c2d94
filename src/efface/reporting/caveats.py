"""What a report does not claim."""

from __future__ import annotations

from efface.evaluation.wording import format_count, format_share, join_words
from efface.records import Evaluation, RunRecord
from efface.reporting.resistance import Resistance
from efface.requests.glossary import RETAIN
from efface.requests.words import Judgement, Words, counts


def caveats(
    record: RunRecord,
    evaluation: Evaluation,
    judgement: Judgement,
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
    said += _about_none(judgement)
    said.append(_about_samples(evaluation))
    if any(words.term(result.metric).group == RETAIN for result in evaluation.results):
        said.append(
            "The figures of retained samples are averages: they can hide damage to one kind of "
            "image among many. Those in a network's features depend on it and on the number of "
            "samples: compare them within this report, not with figures published elsewhere."
        )
    return said


def _about_attacks(resistance: Resistance, unknown: str) -> str:
    if resistance.state == "unmeasured":
        return f"No attack was run. {unknown}"
    if resistance.state == "stale":
        return f"The attacks on file were run on other weights than this run's. {unknown}"
    return (
        "What the attacks that were run did not find, with the budgets that they were given, may "
        "still be found by another, or by the same with more."
    )


def _about_none(judgement: Judgement) -> list[str]:
    """How often something may still happen that was in no sample."""
    for evidence in judgement.forget:
        samples = evidence.result.samples
        if evidence.result.unit.startswith("share") and counts(evidence.result)[1] == 0:
            bound = format_share(min(1.0, 3 / samples))
            return [
                f"0 of {format_count(samples)} samples leave room for a rate of up to about "
                f"{bound} (3 in {format_count(samples)})."
            ]
    return []


def _about_samples(evaluation: Evaluation) -> str:
    sizes = join_words([format_count(n) for n in sorted({r.samples for r in evaluation.results})])
    return (
        f"The figures rest on {sizes} images each, from one training run. The 95 % intervals cover "
        "the choice of those images, not that of the training seed."
    )
