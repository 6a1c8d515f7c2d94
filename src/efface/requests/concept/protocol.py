"""How requests about prompts are measured: samples, and what CLIPs and detectors find in them."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from efface.data.batch import in_turn
from efface.evaluation.grids import write_prompt_grids
from efface.evaluation.protocol import (
    Protocol,
    Samples,
    Seen,
    Terms,
    digest_of,
    make_result,
    of_models,
    shorten,
    view_result,
)
from efface.evaluation.store import Arrays, Store
from efface.evaluation.subjects import Subjects
from efface.evaluation.views import ClipView, View
from efface.metrics.clip_score import CLIP_SCORE, prompt_similarity
from efface.metrics.concept_rate import SPEC as CONCEPT_RATE
from efface.metrics.concept_rate import rate_above
from efface.metrics.threshold_curve import threshold_curve
from efface.records import Curve, Evaluation, Result, Side
from efface.requests.concept.finding import Finder, Phrases, find_finders
from efface.requests.concept.prompt_groups import (
    PromptGroup,
    digest_groups,
    group_curves,
    group_results,
    score_groups,
    set_of,
)
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

    def _rows(self) -> list[tuple[int, int]]:
        """The numbers of the request and of the forget prompt of each sample."""
        owners = self.prompts.owners or (0,) * len(self.prompts.forget)
        requests = range(1 + len(self.earlier))
        owned = [[row for row, own in enumerate(owners) if own == one] for one in requests]
        each = self.config.forget_samples
        return [(one, row) for one, own in enumerate(owned) for row in in_turn(own, each)]

    def sampled(self, side: Side) -> list[str]:
        """The prompt of each sample."""
        if side == "forget":
            return [self.prompts.forget[row] for _, row in self._rows()]
        return in_turn(self.prompts.retain, self.config.retain_samples)

    def seeds(self, side: Side) -> range:
        first = self.config.seed + (0 if side == "forget" else self.config.forget_samples)
        return range(first, first + len(self.sampled(side)))

    def sampled_group(self, group: PromptGroup) -> list[str]:
        """The prompt of each sample of a group."""
        return in_turn(group.prompts, self.group_samples)

    def group_seeds(self) -> range:
        first = self.config.seed + self.config.forget_samples + self.config.retain_samples
        return range(first, first + self.group_samples)

    @cached_property
    def finders(self) -> dict[str, Finder]:
        """What finds the concept in samples of forget prompts, by name of the network.

        After earlier requests a CLIP chooses between other phrases in each of them.
        """
        pairs = list(zip(self.prompts.forget, self.prompts.targets, strict=True))
        phrases = (*self.earlier, self.phrases)
        contrasts = [phrases[owner] or pairs[row] for owner, row in self._rows()]
        return find_finders(self.views, None if self.earlier else self.phrases, contrasts)

    @cached_property
    def group_finders(self) -> dict[str, Finder]:
        """What finds the concept in prompt groups: the first of them is asked."""
        return dict(list(find_finders(self.views, self.phrases).items())[:1])

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
                observers = {n: v for n, v in self.views.items() if self._observes(n, side)}
                seeds = self.seeds(side)
                sets[side] = Samples(seeds=seeds, observers=observers, asked=prompts)
        for group in self.groups if self.group_finders else ():
            sets[set_of(group)] = Samples(
                seeds=self.group_seeds(),
                observers=self.group_finders,
                asked=self.sampled_group(group),
            )
        return sets

    def _observes(self, name: str, side: Side) -> bool:
        """Whether a network measures anything in samples of forget, or of retained prompts."""
        if side == "forget":
            return name in self.finders
        return bool(self.views[name].metrics(labelled=False))

    def report(self, seen: Mapping[str, Seen], subjects: Subjects) -> Evaluation:
        """Without a network nothing is claimed."""
        sampled = subjects.sampled()
        finders = self.finders if self.prompts.forget else {}
        found = [
            self._about_forgotten(finder, of_models(seen, "forget", name), sampled)
            for name, finder in finders.items()
        ]
        results = [rate for rates, _ in found for rate in rates]
        curves = [curve for _, curve in found]
        for name, view in self.views.items():
            if self._observes(name, "retain"):
                retain = of_models(seen, "retain", name)
                results += self._about_retained(view, retain, sampled)
        for name, finder in self.group_finders.items() if self.groups else ():
            scores = score_groups(self, name, seen)
            results += group_results(self, finder, scores, sampled)
            curves += group_curves(self, finder, scores, sampled)
        return Evaluation(results=results, curves=curves, terms=self.terms())

    def _about_retained(
        self, view: View, retain: Mapping[str, Arrays], sampled: str
    ) -> list[Result]:
        """How good retained samples are, and how well they show their prompts."""
        prompts = self.sampled("retain")
        rows = np.array(in_turn(range(len(self.prompts.retain)), len(prompts)))
        seen = {model: view.observations(arrays, rows) for model, arrays in retain.items()}
        metrics = view.metrics(labelled=False)
        if isinstance(view, ClipView):
            metrics = (CLIP_SCORE, *metrics)
            for model, arrays in retain.items():
                similar = prompt_similarity(view.clip, arrays["embedded"], prompts)
                seen[model] = dataclasses.replace(seen[model], prompt_similarity=similar)
        seeds = self.seeds("retain")
        return [view_result(view, metric, seen, (), seeds, sampled) for metric in metrics]

    def _about_forgotten(
        self, finder: Finder, forget: Mapping[str, Arrays], sampled: str
    ) -> tuple[list[Result], Curve]:
        """How often the concept is found in samples of forget prompts, also by threshold."""
        text = f"{sampled}; measured with: {finder.measured_with}"
        scores = {model: finder.scores(arrays) for model, arrays in forget.items()}
        rates = {model: rate_above(values, finder.threshold) for model, values in scores.items()}
        own = finder.extractor
        rate = make_result(CONCEPT_RATE, rates, self.seeds("forget"), protocol=text, extractor=own)
        curve = threshold_curve(scores, finder.name, text, extractor=own)
        return [rate, *self._by_request(finder, scores, text)], curve

    def _by_request(
        self, finder: Finder, scores: Mapping[str, np.ndarray], text: str
    ) -> list[Result]:
        """How often the concept of each of several requests is found."""
        owners, found = np.array([owner for owner, _ in self._rows()]), []
        for number in range(1 + len(self.earlier)) if self.earlier else ():
            own = {model: values[owners == number] for model, values in scores.items()}
            if not len(own["result"]):  # a later request names the same concept
                continue
            called = f"concept {number + 1}"
            found.append(
                make_result(
                    CONCEPT_RATE.about(number + 1, called, called, decides=True),
                    {model: rate_above(values, finder.threshold) for model, values in own.items()},
                    self.seeds("forget"),
                    samples=len(own["result"]),
                    protocol=text,
                    extractor=finder.extractor,
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
