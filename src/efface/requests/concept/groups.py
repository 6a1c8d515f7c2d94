"""How far forgetting reaches: rates of the concept and of its neighbours by prompt group."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from efface.evaluation.protocol import Seen, of_models
from efface.evaluation.results import make_result
from efface.evaluation.store import Arrays
from efface.evaluation.views import DetectorView
from efface.metrics.clip_contrast import detector_scores
from efface.metrics.concept_rate import rate_above
from efface.metrics.intervals import Estimate, proportion_by_seed
from efface.metrics.retained_accuracy import RETAINED_ACCURACY
from efface.metrics.threshold_curve import threshold_curve
from efface.records import Curve, Result, Spec
from efface.requests.concept.finding import ConceptView, name_of
from efface.requests.concept.prompt_groups import PromptGroup

if TYPE_CHECKING:
    from efface.requests.concept.protocol import ConceptProtocol

NEIGHBOURS = RETAINED_ACCURACY.spec.model_copy(
    update={
        "label": "Neighbours retained",
        "meaning": "samples conditioned on neighbours of the concept that still show them",
    }
)
Scores = dict[str, dict[str, np.ndarray]]  # group -> model -> (N,)


def set_of(group: PromptGroup) -> str:
    """The name of the samples that a group shares with all groups of the same prompts."""
    return json.dumps(group.prompts)


def score_groups(protocol: ConceptProtocol, view: ConceptView, seen: Mapping[str, Seen]) -> Scores:
    """How probable it is that each sample of a group shows what is sought in it."""
    name = next(name for name, own in protocol.views.items() if own is view)
    return {
        group.name: {
            model: score_group(view, group, arrays, protocol)
            for model, arrays in of_models(seen, set_of(group), name).items()
        }
        for group in protocol.groups
    }


def group_results(
    protocol: ConceptProtocol, view: ConceptView, scores: Scores, sampled: str
) -> list[Result]:
    """One rate per group, and that of all neighbours together."""
    results = []
    for group in protocol.groups:
        rates = {
            model: rate_above(own, view.threshold) for model, own in scores[group.name].items()
        }
        extractor = describe_group(view, group, protocol)
        results.append(_result(group.spec, rates, protocol, extractor, sampled))
    neighbours = [scores[group.name] for group in protocol.groups if group.kind == "neighbour"]
    if neighbours:
        # Each seed stands for one sample of every group.
        together = {
            model: proportion_by_seed(
                np.stack([own[model] for own in neighbours], 1) > view.threshold
            )
            for model in neighbours[0]
        }
        extractor = _named(view, "each neighbour's own label")
        results.append(_result(NEIGHBOURS, together, protocol, extractor, sampled, len(neighbours)))
    return results


def score_group(
    view: ConceptView, group: PromptGroup, arrays: Arrays, protocol: ConceptProtocol
) -> np.ndarray:
    """How probable it is that each sample of a group shows what is sought in it: (N,)."""
    if isinstance(view, DetectorView):
        return view.scores(arrays, group.labels or view.labels)
    contrast = _contrast(group, protocol)
    return detector_scores(view.clip, arrays["embedded"], [contrast] * len(arrays["embedded"]))


def _contrast(group: PromptGroup, protocol: ConceptProtocol) -> tuple[str, ...]:
    """What a CLIP seeks, and what else it could be: the concept and its replacement."""
    assert protocol.phrases is not None  # the groups were checked
    sought = group.labels[0] if group.labels else protocol.phrases[0]
    return tuple(dict.fromkeys((sought, *protocol.phrases)))


def describe_group(
    view: ConceptView, group: PromptGroup, protocol: ConceptProtocol
) -> dict[str, str]:
    """The network and what it seeks in a group, as a result carries them."""
    if isinstance(view, DetectorView):
        return view.described(group.labels or view.labels)
    sought, *others = _contrast(group, protocol)
    return _named(view, f"{sought!r} rather than {' or '.join(map(repr, others))}")


def _named(view: ConceptView, sought: str) -> dict[str, str]:
    if isinstance(view, DetectorView):
        return view.described_as(sought)
    return view.extractor | {"name": f"{view.clip.name}, {sought}"}


def _result(
    spec: Spec,
    rates: Mapping[str, Estimate],
    protocol: ConceptProtocol,
    extractor: dict[str, str],
    sampled: str,
    groups: int = 1,
) -> Result:
    seeds = protocol.group_seeds()
    return make_result(
        spec,
        rates,
        seeds,
        samples=groups * len(seeds),
        protocol=_text(sampled, extractor),
        extractor=extractor,
    )


def _text(sampled: str, extractor: Mapping[str, str]) -> str:
    return f"{sampled}; measured with: {extractor['name']}; every group from the same seeds"


def group_curves(
    protocol: ConceptProtocol, view: ConceptView, scores: Scores, sampled: str
) -> list[Curve]:
    """Rates of the concept by threshold in each group without labels, before and after."""
    forget = [group for group in protocol.groups if not group.labels]
    if not forget:
        return []
    lines = {f"{m}_{g.name}": scores[g.name][m] for m in ("result", "baseline") for g in forget}
    extractor = describe_group(view, forget[0], protocol)  # the same in all of them
    return [
        threshold_curve(
            lines,
            name_of(view),
            _text(sampled, extractor),
            name="group_threshold_curve",
            title="How often other prompts bring it back, by threshold",
            extractor=extractor,
        )
    ]
