"""What a report does not claim."""

from __future__ import annotations

import math

from efface.records import Evaluation, RunRecord
from efface.reporting import memorised_sentences
from efface.reporting.group_words import find_detector
from efface.reporting.image_findings import count_copies
from efface.reporting.image_sentences import count_pictures
from efface.reporting.memorised_findings import find_memorised
from efface.reporting.resistance import Resistance
from efface.reporting.states import find_measured
from efface.reporting.wording import format_count, format_share, join_words, plural

FEW_PICTURES = 30  # a mean over fewer leans on which pictures they happen to be


def caveats(record: RunRecord, evaluation: Evaluation, resistance: Resistance) -> list[str]:
    """Sentences on the limits of what was measured."""
    if record.request.get("kind") == "images":
        return _about_images(record, evaluation, resistance)
    if record.request.get("kind") == "memorised":
        return _about_memorised(evaluation, resistance)
    return _about_classes(record, evaluation, resistance)


def _about_classes(record: RunRecord, evaluation: Evaluation, resistance: Resistance) -> list[str]:
    said = []
    if record.request.get("kind") in ("class", "concept"):
        said += [
            "That a model no longer draws something is no proof that its influence is gone from "
            "the weights. This report shows the first, not the second.",
            _about_attacks(
                resistance,
                "Whether it comes back after further training, under another sampler or "
                "with other inputs is not known.",
            ),
        ]
    if not evaluation.results:
        return [*said, "Nothing was measured: the pictures are an impression, not evidence."]
    said += [_about_judge(record, evaluation), _about_samples(evaluation)]
    said.append(
        "The figure for what must stay is an average: it can hide damage to one class among many."
    )
    if any(result.metric in ("fid", "precision", "recall") for result in evaluation.results):
        said.append(
            "FID, precision and recall are computed in this judge's features and at this sample "
            "size: compare them within this report, not with figures published elsewhere."
        )
    return said


def _about_attacks(resistance: Resistance, unknown: str) -> str:
    if resistance.state == "unmeasured":
        return f"No attack was run. {unknown}"
    if resistance.state == "stale":
        return f"The attacks on file were run on other weights than this run's. {unknown}"
    return (
        "What was not found by the attacks that were run, with the budgets they were given, may "
        "still be found by another, or by the same with more."
    )


def _about_images(record: RunRecord, evaluation: Evaluation, resistance: Resistance) -> list[str]:
    said = [
        "That a model no longer copies a picture is no proof that its influence is gone from the "
        "weights. This report shows the first, not the second.",
        _about_attacks(
            resistance,
            "Another way to extract a picture, such as a search for the noise that leads to it, "
            "further training or another sampler, may still find it.",
        ),
        "This is not differential privacy: nothing is guaranteed to anybody whose picture was "
        "among the training images.",
        *_about_retained(record),
    ]
    if not evaluation.results:
        return [*said, "Nothing was measured: the samples are an impression, not evidence."]
    said += _about_copies(evaluation)
    said += _about_gap(record, evaluation)
    said.append(_about_samples(evaluation))
    quality = {r.metric for r in evaluation.results}
    if quality & {"fid", "precision", "recall", "inception_score"}:
        said += [
            "The figures for what must stay are averages: they can hide damage to one kind of "
            "picture among many.",
            "They are computed with one network's features and at this sample size: compare them "
            "within this report, not with figures published elsewhere.",
        ]
    return said


def _about_memorised(evaluation: Evaluation, resistance: Resistance) -> list[str]:
    said = [
        *memorised_sentences.limits(find_memorised(evaluation)),
        _about_attacks(resistance, "Whether another prompt still finds it is not known."),
    ]
    return [*said, _about_samples(evaluation)] if evaluation.results else said


def _about_retained(record: RunRecord) -> list[str]:
    if record.request.get("retain") != "generate":
        return []
    return [
        "The pictures that were to stay are not training images: the untouched model drew them. "
        "What it draws seldom or badly was protected less, and its mistakes were taught again."
    ]


def _about_copies(evaluation: Evaluation) -> list[str]:
    copies = find_measured(evaluation, "copy_rate")
    if copies is None:
        return ["Whether the model still draws copies was not measured."]
    said = (
        "A copy is a sample within a set distance of a forgotten picture; a looser likeness does "
        "not count."
    )
    if count_copies(copies)[1] == 0 and copies.samples > 0:
        bound = format_share(min(1.0, 3 / copies.samples))
        said += (
            f" None among {format_count(copies.samples)} samples leaves room for a rate of up to "
            f"about {bound} (3 in {format_count(copies.samples)})."
        )
    return [said]


def _about_gap(record: RunRecord, evaluation: Evaluation) -> list[str]:
    gap = find_measured(evaluation, "membership_gap")
    if gap is None:
        why = "" if record.request.get("unseen") else ": no such pictures were given"
        return [
            "Whether the model knows the forgotten pictures better than pictures it has never "
            f"seen was not measured{why}."
        ]
    said = [
        "More forgetting than never seen is not better: a model that does worse on a picture than "
        "on strangers shows that it was made to."
    ]
    count = count_pictures(record, evaluation)
    if 0 < count < FEW_PICTURES:
        of = f"{format_count(count)} {plural(count, 'picture')}"
        plain = (
            "Some pictures are plainer than others, and a plain one is easy to take noise off "
            f"even if it was never seen. With {of}, a gap may lie in {plural(count, 'it', 'them')}"
        )
        missing = "only a model trained without would tell, and none was measured here."
        seen = f"the model trained without {plural(count, 'it', 'them')} shows how far."
        said.append(f"{plain}: {missing if gap.retrained is None else seen}")
    return said


def _about_judge(record: RunRecord, evaluation: Evaluation) -> str:
    if find_detector(evaluation) is not None:
        return (
            "A detector is a network too: it overlooks some pictures that show the concept, and "
            "finds it in some that do not. Neighbouring thresholds show how much hangs on that."
        )
    if record.model.get("classes") is None:
        return (
            "A CLIP that chooses between two texts says which of them is nearer to a picture, not "
            "that the picture shows either."
        )
    judge = evaluation.judge or {}
    accuracy, images = judge.get("held_out_accuracy"), judge.get("held_out_images")
    reliability = "How often it is right is not recorded"
    if isinstance(accuracy, (int, float)) and math.isfinite(accuracy):
        of = f"{format_count(images)} " if isinstance(images, int) else ""
        reliability = f"It is right on {format_share(accuracy)} of {of}held-out images"
    return (
        "The judge that looked at the pictures is itself a classifier. "
        f"{reliability}, and it was made for real pictures, not for generated ones."
    )


def _about_samples(evaluation: Evaluation) -> str:
    counts = sorted({result.samples for result in evaluation.results})
    sizes = join_words([format_count(c) for c in counts])
    return (
        f"The figures rest on {sizes} pictures each, from one training run. The 95 % intervals "
        "cover the luck of drawing those pictures, not that of training with another seed."
    )
