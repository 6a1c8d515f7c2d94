"""What finds a concept in samples: a detector, or a CLIP that chooses between texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from efface.evaluation.store import Arrays
from efface.evaluation.views import ClipView, DetectorView, View
from efface.metrics.clip_contrast import detector_scores

ConceptView = DetectorView | ClipView
Phrases = tuple[str, str]  # the concept and its replacement


def find_finder(views: Mapping[str, View]) -> ConceptView | None:
    """The detector, or where there is none a CLIP."""
    for kind in (DetectorView, ClipView):
        for view in views.values():
            if isinstance(view, kind):
                return view
    return None


def name_of(view: ConceptView) -> str:
    return view.detector.name if isinstance(view, DetectorView) else view.clip.name


def describe_concept(view: ConceptView, phrases: Phrases | None) -> str:
    """What was measured with, in words for a protocol."""
    if isinstance(view, DetectorView):
        return view.extractor["name"]
    pair = "each prompt and its target" if phrases is None else "the concept and its replacement"
    return f"{view.clip.name}, which chooses between {pair}"


def concept_scores(
    view: ConceptView, arrays: Arrays, contrasts: Sequence[tuple[str, ...]]
) -> np.ndarray:
    """How probable it is that each sample shows the concept: (N,).

    A CLIP chooses the first of its sample's `contrasts`.
    """
    if isinstance(view, DetectorView):
        return view.scores(arrays, view.labels)
    return detector_scores(view.clip, arrays["embedded"], contrasts)
