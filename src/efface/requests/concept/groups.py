"""How far forgetting reaches: rates of the concept and of its neighbours by prompt group."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from efface.evaluation.protocol import Seen, of_models
from efface.evaluation.results import make_result
from efface.metrics.concept_rate import rate_above
from efface.metrics.intervals import Estimate, proportion_by_seed
from efface.metrics.retained_accuracy import RETAINED_ACCURACY
from efface.metrics.threshold_curve import threshold_curve
from efface.records import Curve, Result, Spec
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


def score_groups(protocol: ConceptProtocol, observer: str, seen: Mapping[str, Seen]) -> Scores:
    """How probable it is that each sample of a group shows what is sought in it."""
    finder = protocol.group_finders[observer]
    return {
        group.name: {
            model: finder.scores(arrays, group.labels)
            for model, arrays in of_models(seen, set_of(group), observer).items()
        }
        for group in protocol.groups
    }


def group_results(
    protocol: ConceptProtocol, observer: str, scores: Scores, sampled: str
) -> list[Result]:
    """One rate per group, and that of all neighbours together."""
    finder, seeds = protocol.group_finders[observer], protocol.group_seeds()
    threshold = finder.threshold

    def result(spec: Spec, rates: Mapping[str, Estimate], sought: str, groups: int = 1) -> Result:
        extractor, samples = finder.described_as(sought), groups * len(seeds)
        text = _protocol_text(sampled, extractor)
        return make_result(spec, rates, seeds, samples=samples, protocol=text, extractor=extractor)

    results = [
        result(
            group.spec,
            {model: rate_above(own, threshold) for model, own in scores[group.name].items()},
            finder.name_sought(group.labels),
        )
        for group in protocol.groups
    ]
    neighbours = [scores[group.name] for group in protocol.groups if group.kind == "neighbour"]
    if neighbours:
        # Each seed stands for one sample of every group.
        together = {
            model: proportion_by_seed(np.stack([own[model] for own in neighbours], 1) > threshold)
            for model in neighbours[0]
        }
        sought = "each neighbour's own label"
        results.append(result(NEIGHBOURS, together, sought, len(neighbours)))
    return results


def group_curves(
    protocol: ConceptProtocol, observer: str, scores: Scores, sampled: str
) -> list[Curve]:
    """Rates of the concept by threshold in each group without labels, before and after."""
    forget, finder = (
        [g.name for g in protocol.groups if not g.labels],
        protocol.group_finders[observer],
    )
    if not forget:
        return []
    extractor = finder.described_as(finder.name_sought(()))
    return [
        threshold_curve(
            {f"{model}_{g}": scores[g][model] for model in ("result", "baseline") for g in forget},
            finder.name,
            _protocol_text(sampled, extractor),
            name="group_threshold_curve",
            title="How often other prompts bring it back, by threshold",
            extractor=extractor,
        )
    ]


def _protocol_text(sampled: str, extractor: Mapping[str, str]) -> str:
    return f"{sampled}; measured with: {extractor['name']}; every group from the same seeds"
