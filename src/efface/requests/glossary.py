"""What metrics are called and mean, in words for every reader (no torch)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Group = Literal["Forget set", "Retained", "Other figures"]
FORGET: Group = "Forget set"
RETAIN: Group = "Retained"
OTHER: Group = "Other figures"
GROUPS: tuple[Group, ...] = (FORGET, RETAIN, OTHER)


@dataclass(frozen=True)
class Term:
    """A metric's name, the group of the table that it stands in, and what it means."""

    label: str
    group: Group
    meaning: str


# Of every kind of request; a kind's own words come first.
TERMS: dict[str, Term] = {
    "unlearning_accuracy": Term(
        "Unlearning accuracy",
        FORGET,
        "samples of the forgotten class in which the classifier does not see it",
    ),
    "forgotten_probability": Term(
        "Forgotten probability",
        FORGET,
        "mean probability that the classifier gives to the forgotten class",
    ),
    "forgotten_entropy": Term(
        "Forgotten entropy",
        FORGET,
        "how undecided the classifier is there: low where it sees something clear",
    ),
    "concept_rate": Term(
        "Concept rate",
        FORGET,
        "samples conditioned on the concept in which a detector finds it, or a CLIP rather than "
        "its replacement",
    ),
    "retained_accuracy": Term(
        "Retained accuracy",
        RETAIN,
        "samples of the other classes in which the classifier sees their class",
    ),
    "label_agreement": Term(
        "Label agreement",
        RETAIN,
        "samples in which the classifier sees what it saw in the original model's",
    ),
    "fid": Term(
        "Fréchet distance",
        RETAIN,
        "between samples and real images; with features of Inception it is FID",
    ),
    "kid": Term("KID", RETAIN, "distance from real images, unbiased with few samples too"),
    "sfid": Term("sFID", RETAIN, "distance from real images in spatial structure"),
    "precision": Term("Precision", RETAIN, "samples that look like real images"),
    "recall": Term("Recall", RETAIN, "how much of the variety of real images is generated"),
    "density": Term("Density", RETAIN, "how many real images are near a sample, relative to them"),
    "coverage": Term("Coverage", RETAIN, "real images that have a sample near"),
    "inception_score": Term(
        "Inception score", RETAIN, "how clear and how varied samples look to a classifier"
    ),
    "clip_score": Term("CLIP score", RETAIN, "how well samples show what their prompts say"),
    "clip_iqa": Term("CLIP-IQA", RETAIN, "how much samples look like good photos to a CLIP"),
}
