"""What the metrics are called and mean, for a reader who is no engineer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from efface.reporting.group_words import tell_group
from efface.reporting.wording import shorten

Group = Literal["What must go", "What must stay", "Other figures"]


@dataclass(frozen=True, kw_only=True)
class Term:
    label: str
    group: Group
    meaning: str


TERMS: dict[str, Term] = {
    "memorised_share": Term(
        label="Memorised share",
        group="What must go",
        meaning="pictures asked for by the prompt that are copies of the memorised one",
    ),
    "memorised_share_modified": Term(
        label="Memorised share, modified prompt",
        group="What must go",
        meaning="the same for the prompt that draws the memorised picture only sometimes",
    ),
    "reference_similarity": Term(
        label="Likeness",
        group="What must go",
        meaning="similarity of the prompt's pictures to the memorised one, 1 for the same",
    ),
    "reference_similarity_modified": Term(
        label="Likeness, modified prompt",
        group="What must go",
        meaning="the same for the modified prompt",
    ),
    "text_noise_norm": Term(
        label="Text-noise norm",
        group="What must go",
        meaning="how hard the prompt pulls at pure noise: large where a picture is memorised",
    ),
    "text_noise_norm_modified": Term(
        label="Text-noise norm, modified prompt",
        group="What must go",
        meaning="the same for the modified prompt",
    ),
    "prompt_clip_iqa": Term(
        label="CLIP-IQA of the prompt",
        group="What must stay",
        meaning="how good the prompt's own pictures look to a CLIP",
    ),
    "prompt_clip_iqa_modified": Term(
        label="CLIP-IQA of the modified prompt",
        group="What must stay",
        meaning="how good the modified prompt's pictures look to a CLIP",
    ),
    "unlearning_accuracy": Term(
        label="Unlearning accuracy",
        group="What must go",
        meaning="pictures asked for as the forgotten class in which the judge does not see it",
    ),
    "concept_rate": Term(
        label="Concept rate",
        group="What must go",
        meaning="pictures asked for by the concept in which a detector finds it, or a CLIP rather "
        "than what was to be drawn instead",
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
        meaning="distance of the other pictures from real ones",
    ),
    "precision": Term(
        label="Precision",
        group="What must stay",
        meaning="other pictures that look like real ones",
    ),
    "recall": Term(
        label="Recall",
        group="What must stay",
        meaning="how much of the variety of real pictures is drawn",
    ),
    "kid": Term(
        label="KID",
        group="What must stay",
        meaning="distance of pictures from real ones, fair with few samples too",
    ),
    "sfid": Term(
        label="sFID",
        group="What must stay",
        meaning="distance from real pictures in where things are",
    ),
    "density": Term(
        label="Density",
        group="What must stay",
        meaning="how many real pictures are near a drawn one: 1 as near a real one",
    ),
    "coverage": Term(
        label="Coverage",
        group="What must stay",
        meaning="real pictures that have a drawn one near",
    ),
    "label_agreement": Term(
        label="Agreement with before",
        group="What must stay",
        meaning="pictures in which the judge sees what it saw in the untouched model's",
    ),
    "clip_score": Term(
        label="CLIP score",
        group="What must stay",
        meaning="how well pictures show what their prompts say",
    ),
    "clip_iqa": Term(
        label="CLIP quality",
        group="What must stay",
        meaning="how much pictures look like good photos rather than bad ones",
    ),
}
IMAGE_TERMS: dict[str, Term] = {
    "copy_rate": Term(
        label="Copy rate",
        group="What must go",
        meaning="samples that are copies of a forgotten picture",
    ),
    "membership_gap": Term(
        label="Membership gap",
        group="What must go",
        meaning="how far the denoising loss lies below that of pictures never seen: 0 as if never "
        "seen, above 0 still known, below 0 pushed beyond, which is not better",
    ),
    "membership_auc": Term(
        label="Membership test",
        group="What must go",
        meaning="chance that the loss tells a forgotten picture from one never seen: 0.5 is a "
        "toss of a coin",
    ),
    "forgotten_loss": Term(
        label="Denoising loss",
        group="What must go",
        meaning="error in taking noise off the forgotten pictures: low where they are known",
    ),
    "copy_similarity": Term(
        label="Similarity",
        group="What must go",
        meaning="how much of a forgotten picture comes back after noise: 1 is all of it, and less "
        "than for pictures never seen is not better",
    ),
    "normalised_similarity": Term(
        label="Similarity, relative",
        group="What must go",
        meaning="similarity over that of pictures never seen: 1 as if never seen. A model that "
        "spoils every picture gains nothing here",
    ),
    "nll": Term(
        label="Surprise",
        group="What must go",
        meaning="bits that describe a pixel of the forgotten pictures to the model (negative log "
        "likelihood): few where they are known",
    ),
    "fid": Term(
        label="FID",
        group="What must stay",
        meaning="distance of the samples from real pictures",
    ),
    "precision": Term(
        label="Precision",
        group="What must stay",
        meaning="samples that look like real pictures",
    ),
    "inception_score": Term(
        label="Inception score",
        group="What must stay",
        meaning="how clear and how varied the samples look to a classifier",
    ),
}
CONCEPT_TERMS: dict[str, Term] = {
    "retained_accuracy": Term(
        label="Neighbours kept",
        group="What must stay",
        meaning="pictures asked for by neighbours of the concept that still show them",
    ),
}
GROUPS: tuple[Group, ...] = ("What must go", "What must stay", "Other figures")


def explain(metric: str, kind: Any = None) -> Term:
    """Look a metric up in the words of a request; one not known here goes by its own name."""
    told = tell_group(metric)
    if told is not None:
        return Term(label=told[0], group=told[1], meaning=told[2])
    own = {"images": IMAGE_TERMS, "concept": CONCEPT_TERMS}
    known = (TERMS | own.get(str(kind), {})).get(metric)
    return known or Term(label=metric.replace("_", " "), group="Other figures", meaning="")


CURVES = {
    "copy_curve": "How often samples come near a forgotten picture, by distance",
    "likeness_curve": "How often the picture is drawn, by likeness",
    "threshold_curve": "How often it is found, by threshold",
    "group_threshold_curve": "How often other prompts bring it back, by threshold",
}


def name_curve(name: str) -> str:
    """What a recorded curve is called, as untrusted text made fit for a caption."""
    return CURVES.get(name, shorten(name.replace("_", " ")))
