"""Figures of text-to-image runs, measured again: prompts are read where the request says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from efface.diffusion.one_step import default_sampler
from efface.errors import DataError, RequestError
from efface.evaluation.sample_sets import SampleSet, Subject, observe
from efface.evaluation.store import Arrays, Store
from efface.evaluation.terms import prompt_terms
from efface.evaluation.views import PREFERRED, ClipView, DetectorView, View
from efface.evidence.networks import find_view, only_network
from efface.evidence.recorded import (
    MAX_SAMPLES,
    Claim,
    NotHereError,
    load_recorded,
    recorded_evaluation,
    recorded_section,
    recorded_seeds,
)
from efface.metrics.clip_contrast import detector_scores
from efface.metrics.clip_score import ClipScore, prompt_similarity
from efface.metrics.concept_rate import ConceptRate, rate_above
from efface.metrics.intervals import Estimate
from efface.metrics.retained_accuracy import RetainedAccuracy
from efface.records import RunRecord
from efface.requests.concept.groups import describe_group, score_group
from efface.requests.concept.prompt_groups import PromptGroup, check_detection
from efface.requests.concept.prompts import ConceptPrompts, recorded_prompts
from efface.requests.concept.protocol import ConceptProtocol
from efface.settings.reading import EvaluateConfig, PromptsConfig, read_settings

FILES = ("forget_prompts", "retain_prompts", "prompt_pairs", "negative")  # of a request
MOST_NONSENSE = 0.9  # share of the prompts that stay
GROUPS = "groups of prompts"


@dataclass(frozen=True, eq=False, kw_only=True)
class PromptFigure:
    """A figure of prompts, what it is seen with, and the model at hand."""

    claim: Claim
    view: View
    subject: Subject
    protocol: ConceptProtocol
    seeds: range

    @property
    def threshold(self) -> float:
        return self.view.threshold if isinstance(self.view, DetectorView) else PREFERRED

    def look(self, asked: Sequence[str]) -> Arrays:
        samples = SampleSet(
            subject=self.subject,
            seeds=self.seeds,
            asked=asked,
            batch_size=min(self.protocol.config.batch_size, 250),
        )
        seen = observe(samples, {"seen": self.view.observer}, Store(None), "measuring again")
        return seen["seen"]

    def concept(self) -> Estimate:
        """`concept_rate` of the prompts to forget."""
        view, arrays = self.view, self.look(self.protocol.asked("forget"))
        if isinstance(view, DetectorView):
            self.claim.require_looked_for(view.detector.name, view.extractor["name"])
            scores = view.scores(arrays, view.labels)
        else:
            assert isinstance(view, ClipView)
            scores = detector_scores(view.clip, arrays["embedded"], self.protocol.contrasts())
        return rate_above(scores, self.threshold)

    def of_groups(self, groups: Sequence[PromptGroup]) -> Estimate:
        """The rate of a group, or of several together."""
        view = self.view
        assert isinstance(view, DetectorView | ClipView)
        network = view.detector.name if isinstance(view, DetectorView) else view.clip.name
        scores = []
        for group in groups:
            if self.claim.result.metric == group.metric:
                described = describe_group(view, group, self.protocol)["name"]
                self.claim.require_looked_for(network, described)
            arrays = self.look(self.protocol.group_asked(group))
            scores.append(score_group(view, group, arrays, self.protocol))
        return rate_above(np.concatenate(scores), self.threshold)

    def kept(self) -> Estimate:
        """How good samples of prompts that stay are, and how well they show them."""
        view, result = self.view, self.claim.result
        metrics = view.metrics(labelled=False)
        if isinstance(view, ClipView):
            metrics = (ClipScore(), *metrics)
        metric = next((m for m in metrics if m.name == result.metric), None)
        if metric is None:
            raise RequestError(
                f"{result.metric} is no figure of prompts that efface knows: choose another, or "
                "'none'."
            )
        asked = self.protocol.asked("retain")
        arrays = self.look(asked)
        seen = view.observations(arrays, np.array(self.protocol.rows("retain")))
        if isinstance(view, ClipView):
            similar = prompt_similarity(view.clip, arrays["embedded"], asked)
            seen = replace(seen, prompt_similarity=similar)
        return metric.compute(seen, (), view.reference(metric, ()))


def remeasure_prompts(claim: Claim) -> Estimate:
    """A figure of a request about prompts; NotHereError where what it needs is not here."""
    rate = claim.result.metric
    groups = _read_groups(claim) if "/" in rate or rate == RetainedAccuracy.name else ()
    chosen = [group for group in groups if rate in (group.metric, _together(group))]
    if groups and not chosen:
        raise RequestError(
            f"there is no group of prompts for {rate}: restore the file of the run's groups, or "
            "choose another metric, or 'none'."
        )
    seeds = recorded_seeds(claim.result, max(len(chosen), 1))
    prompts = _read_prompts(claim.record)
    config, view = recorded_evaluation(claim.record), find_view(claim)
    protocol = _protocol(claim, prompts, replace(config, **_counts(len(seeds))), groups)
    denoiser = load_recorded(claim.info, config)
    sampler = default_sampler(claim.info, denoiser)
    claim.require(sampler.describe())
    figure = PromptFigure(
        claim=claim,
        view=view,
        subject=Subject(denoiser=denoiser, sampler=sampler),
        protocol=protocol,
        seeds=seeds,
    )
    if rate == ConceptRate.name:
        return figure.concept()
    return figure.of_groups(chosen) if groups else figure.kept()


def _together(group: PromptGroup) -> str | None:
    return RetainedAccuracy.name if group.kind == "neighbour" else None


def _counts(samples: int) -> dict[str, int]:
    return dict.fromkeys(("forget_samples", "retain_samples", "group_samples"), samples)


def _protocol(
    claim: Claim, prompts: ConceptPrompts, config: EvaluateConfig, groups: tuple[PromptGroup, ...]
) -> ConceptProtocol:
    """What was asked for; RequestError where it was measured on other terms."""
    concept, replacement = (claim.record.request.get(key) for key in ("concept", "replacement"))
    phrases = (concept, replacement) if concept and replacement else None
    protocol = ConceptProtocol(prompts=prompts, phrases=phrases, config=config, groups=groups)
    terms = prompt_terms(protocol)
    claim.require_terms({k: v for k, v in terms.items() if groups or k != GROUPS})
    return protocol


def _read_prompts(record: RunRecord) -> ConceptPrompts:
    config = recorded_templates(record)
    for name in FILES:
        require_file(record.request.get(name), "prompts")
    return recorded_prompts(record, config)


def recorded_templates(record: RunRecord) -> PromptsConfig:
    """How prompts of a run were made; DataError for more of them than any run has."""
    config = recorded_section(record, "prompts", PromptsConfig)
    made = len(config.templates) * (len(config.subjects) + len(config.people) + 1)
    if made > MAX_SAMPLES or config.nonsense > MOST_NONSENSE:
        raise DataError(
            f"record.json asks for {made} prompts out of templates, {config.nonsense:.0%} of those "
            f"that stay without meaning: allowed are {MAX_SAMPLES} and {MOST_NONSENSE:.0%}."
        )
    return config


def _read_groups(claim: Claim) -> tuple[PromptGroup, ...]:
    config = only_network(claim)
    require_file(config.prompt_groups, GROUPS)
    settings = replace(
        read_settings(),
        evaluate=config,
        prompts=recorded_section(claim.record, "prompts", PromptsConfig),
    )
    return check_detection(settings, claim.record.request)


def require_file(source: str | None, what: str) -> None:
    """NotHereError where what is read from `source` is no file of this machine."""
    if source is not None and not Path(source).is_file():
        raise NotHereError(f"the {what} of {source} are not on this machine.")
