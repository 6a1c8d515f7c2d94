"""How requests about prompts are measured: samples, and what CLIPs and detectors find in them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from efface.data.batch import in_turn
from efface.evaluation.grids import write_prompt_grids
from efface.evaluation.protocol import Protocol, Samples, Seen, always, of_models
from efface.evaluation.results import make_result, view_result
from efface.evaluation.store import Arrays, Store
from efface.evaluation.subjects import Subjects
from efface.evaluation.terms import Terms, digest_of, shorten
from efface.evaluation.views import ClipView, DetectorView, View
from efface.metrics.clip_score import CLIP_SCORE, prompt_similarity
from efface.metrics.concept_rate import SPEC as CONCEPT_RATE
from efface.metrics.concept_rate import rate_above
from efface.metrics.threshold_curve import threshold_curve
from efface.records import Evaluation, Result, Side
from efface.requests.concept.finding import (
    ConceptView,
    Phrases,
    concept_scores,
    describe_concept,
    find_finder,
    name_of,
)
from efface.requests.concept.groups import group_curves, group_results, score_groups, set_of
from efface.requests.concept.prompt_groups import PromptGroup, digest_groups
from efface.requests.concept.prompts import ConceptPrompts

SIDES: tuple[Side, ...] = ("forget", "retain")
GROUPS = "prompt groups"
COLUMNS, ROWS, FORGOTTEN_ROWS = 6, 10, 5  # of the sheets of samples


@dataclass(frozen=True, eq=False, kw_only=True)
class ConceptProtocol(Protocol):
    """Prompts take turns, and sample i has seed first + i.

    `phrases` are the concept and its replacement; without them a CLIP compares every forget prompt
    with its own target. All groups have the same seeds, so that none depends on the others. There
    are as many samples of forget prompts for each request.
    """

    prompts: ConceptPrompts
    phrases: Phrases | None = None
    earlier: tuple[Phrases | None, ...] = ()  # those of earlier requests
    groups: tuple[PromptGroup, ...] = ()
    group_samples: int = 0  # of each group

    @property
    def requests(self) -> range:
        return range(1 + len(self.earlier))

    def rows(self, side: Side) -> list[int]:
        """The number of each sample's prompt."""
        if side == "forget":
            prompts = self.prompts.owners or (0,) * len(self.prompts.forget)
            owned = [[n for n, own in enumerate(prompts) if own == i] for i in self.requests]
            return [row for own in owned for row in in_turn(own, self.config.forget_samples)]
        return in_turn(range(len(self.prompts.retain)), self.config.retain_samples)

    def sampled(self, side: Side) -> list[str]:
        """The prompt of each sample."""
        prompts = self.prompts.forget if side == "forget" else self.prompts.retain
        return [prompts[row] for row in self.rows(side)]

    def seeds(self, side: Side) -> range:
        first = self.config.seed + (0 if side == "forget" else self.config.forget_samples)
        return range(first, first + len(self.rows(side)))

    def sampled_group(self, group: PromptGroup) -> list[str]:
        """The prompt of each sample of a group."""
        return in_turn(group.prompts, self.group_samples)

    def group_seeds(self) -> range:
        first = self.config.seed + self.config.forget_samples + self.config.retain_samples
        return range(first, first + self.group_samples)

    def contrasts(self) -> list[tuple[str, str]]:
        """The two texts between which a CLIP chooses, for each sample of the forget prompts."""
        pairs = list(zip(self.prompts.forget, self.prompts.targets, strict=True))
        phrases = (*self.earlier, self.phrases)
        rows = zip(self.owners(), self.rows("forget"), strict=True)
        return [phrases[number] or pairs[row] for number, row in rows]

    def owners(self) -> list[int]:
        """The number of the request of each sample of the forget prompts."""
        owners = self.prompts.owners
        return [owners[row] if owners else 0 for row in self.rows("forget")]

    def terms(self) -> Terms:
        """What two evaluations share if their figures may be compared."""
        forget = [self.prompts.forget, self.prompts.targets, self.phrases, *self.earlier]
        return {
            "forget prompts": digest_of(forget),
            "retained prompts": digest_of(self.prompts.retain),
            GROUPS: shorten(digest_groups(self.groups)) if self.groups else "none",
        }

    def samples(self) -> dict[str, Samples]:
        """Both sides, and every group by its prompts: groups of the same are sampled once."""
        sets: dict[str, Samples] = {}
        for side in SIDES:
            prompts = self.sampled(side)
            if prompts:
                observers = {n: view for n, view in self.views.items() if _observes(view, side)}
                sets[side] = _samples(self.seeds(side), prompts, observers)
        finder = find_finder(self.views)
        if finder is not None:
            name = next(name for name, view in self.views.items() if view is finder)
            for group in self.groups:
                prompts = self.sampled_group(group)
                sets[set_of(group)] = _samples(self.group_seeds(), prompts, {name: finder})
        return sets

    def report(self, seen: Mapping[str, Seen], subjects: Subjects) -> Evaluation:
        """Without a network nothing is claimed."""
        sampled = subjects.sampled()
        evaluation = Evaluation(results=[], terms=self.terms())
        for name, view in self.views.items():
            if _observes(view, "retain"):
                retain = of_models(seen, "retain", name)
                evaluation.results += self._about_retained(view, retain, sampled)
            if isinstance(view, ConceptView) and self.prompts.forget:
                forget = of_models(seen, "forget", name)
                evaluation = self._with_concept(evaluation, view, forget, sampled)
        finder = find_finder(self.views)
        if self.groups and finder is not None:
            scores = score_groups(self, finder, seen)
            evaluation.results += group_results(self, finder, scores, sampled)
            evaluation.curves += group_curves(self, finder, scores, sampled)
        return evaluation

    def _about_retained(
        self, view: View, retain: Mapping[str, Arrays], sampled: str
    ) -> list[Result]:
        """How good retained samples are, and how well they show their prompts."""
        rows, prompts = np.array(self.rows("retain")), self.sampled("retain")
        seen = {model: view.observations(arrays, rows) for model, arrays in retain.items()}
        metrics = view.metrics(labelled=False)
        if isinstance(view, ClipView):
            metrics = (CLIP_SCORE, *metrics)
            for model, arrays in retain.items():
                similar = prompt_similarity(view.clip, arrays["embedded"], prompts)
                seen[model] = dataclasses.replace(seen[model], prompt_similarity=similar)
        seeds = self.seeds("retain")
        return [view_result(view, metric, seen, (), seeds, sampled) for metric in metrics]

    def _with_concept(
        self,
        evaluation: Evaluation,
        view: ConceptView,
        forget: Mapping[str, Arrays],
        sampled: str,
    ) -> Evaluation:
        """How often the concept is found in samples of forget prompts, also by threshold."""
        contrasts = self.contrasts()
        scores = {m: concept_scores(view, arrays, contrasts) for m, arrays in forget.items()}
        text = f"{sampled}; measured with: {describe_concept(view, self.phrases)}"
        rate = make_result(
            CONCEPT_RATE,
            {model: rate_above(values, view.threshold) for model, values in scores.items()},
            self.seeds("forget"),
            protocol=text,
            extractor=view.extractor,
        )
        rates = [rate, *self._by_request(view, scores, text)]
        curve = threshold_curve(scores, name_of(view), text, extractor=view.extractor)
        return evaluation.model_copy(
            update={
                "results": [*rates, *evaluation.results],
                "curves": [*evaluation.curves, curve],
            }
        )

    def _by_request(
        self, view: ConceptView, scores: Mapping[str, np.ndarray], text: str
    ) -> list[Result]:
        """How often the concept of each of several requests is found."""
        owners, found = np.array(self.owners()), []
        for number in self.requests if self.earlier else ():
            own = {model: values[owners == number] for model, values in scores.items()}
            if not len(own["result"]):  # a later request names the same concept
                continue
            called = f"concept {number + 1}"
            found.append(
                make_result(
                    CONCEPT_RATE.about(number + 1, called, called, decides=True),
                    {model: rate_above(values, view.threshold) for model, values in own.items()},
                    self.seeds("forget"),
                    samples=len(own["result"]),
                    protocol=text,
                    extractor=view.extractor,
                )
            )
        return found

    def write_sheets(
        self, folder: Path, seen: Mapping[str, Seen], subjects: Subjects, store: Store
    ) -> None:
        """Prompts with keywords of a negative prompt are neither sampled nor written."""
        hidden = self.prompts.negative_prompt is not None
        shown = () if hidden else self.prompts.forget[:FORGOTTEN_ROWS]
        rows = [*shown, *self.prompts.retain][:ROWS]
        asked = [prompt for prompt in rows for _ in range(COLUMNS)]
        models = (subjects.original, subjects.result)
        write_prompt_grids(folder, models, rows, asked, len(shown), self.config, store)


def _samples(seeds: range, prompts: Sequence[str], observers: Mapping[str, View]) -> Samples:
    return Samples(seeds=seeds, observers=observers, asked=always(prompts))


def _observes(view: View, side: Side) -> bool:
    """Whether a network measures anything in samples of forget, or of retained prompts."""
    if side == "forget":
        return isinstance(view, ConceptView)
    return not isinstance(view, DetectorView)
