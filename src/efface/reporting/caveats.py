"""What a report does not claim."""

from __future__ import annotations

import math

from efface.records import Evaluation, RunRecord
from efface.reporting.wording import format_count, format_share, join_words


def caveats(record: RunRecord, evaluation: Evaluation) -> list[str]:
    """Sentences on the limits of what was measured."""
    said = []
    if record.request.get("kind") == "class":
        said += [
            "That a model no longer draws something is no proof that its influence is gone from "
            "the weights. This report shows the first, not the second.",
            "No attack was run. Whether the class comes back after further training, under another "
            "sampler or with other inputs is not known.",
        ]
    if not evaluation.results:
        return [*said, "Nothing was measured: the pictures are an impression, not evidence."]
    said += [_about_judge(evaluation), _about_samples(evaluation)]
    said.append(
        "The figure for what must stay is an average: it can hide damage to one class among many."
    )
    if any(result.metric in ("fid", "precision", "recall") for result in evaluation.results):
        said.append(
            "FID, precision and recall are computed in this judge's features and at this sample "
            "size: compare them within this report, not with figures published elsewhere."
        )
    return said


def _about_judge(evaluation: Evaluation) -> str:
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
