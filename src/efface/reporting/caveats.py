"""What a report does not claim."""

from efface.evaluation.wording import format_count, format_share, is_share, join_words
from efface.records import Evaluation, RunRecord
from efface.reporting.findings import Findings
from efface.reporting.resistance import Resistance
from efface.requests.words import Words


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
