"""How requests to forget a memorised image are measured: how often its prompts still generate it.

A CLIP or an extractor sees the samples of control prompts too, for what else the model generates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

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
)
from efface.evaluation.sample_sets import Observer
from efface.evaluation.store import Store, digest_of_array
from efface.evaluation.subjects import Subjects
from efface.evaluation.views import ClipView
from efface.metrics.clip_iqa import prompt_quality
from efface.metrics.intervals import bounded_mean, mean
from efface.metrics.threshold_curve import similarity_curve
from efface.records import Curve, Evaluation, Margin, Result, Spec
from efface.requests.concept.prompts import ConceptPrompts
from efface.requests.concept.protocol import ConceptProtocol
from efface.requests.memorised.captions import MODIFIED, ORIGINAL, Sought
from efface.requests.memorised.similarity import SIMILARITY

COLUMNS, CONTROL_ROWS = 8, 6

SHARE = Spec(
    name="memorised_share",
    label="Memorised share",
    meaning="samples of the prompt that are copies of the memorised image",
    unit="share",
    side="forget",
    better="less",
    role="primary",
    margin=Margin(value=0.05),
    event="copies of {them} appeared in",
    caveat="A copy is a sample whose similarity to the memorised image exceeds a set threshold; a "
    "looser similarity does not count.",
)
REFERENCE = Spec(
    name="reference_similarity",
    label="Similarity",
    meaning="of the prompt's samples to the memorised image: 1 for the same",
    unit="cosine",
    side="forget",
)
QUALITY = Spec(
    name="prompt_clip_iqa",
    label="CLIP-IQA of the prompt",
    meaning="how good the prompt's own samples look to a CLIP",
    unit="mean probability",
    side="retain",
    better="more",
)


def of_prompt(spec: Spec, which: str) -> Spec:
    """The same figure of the modified prompt, under a name of its own."""
    if which != MODIFIED:
        return spec
    label = f"{spec.label.removesuffix(' of the prompt')}, modified prompt"
    meaning = "the same for the modified prompt, which generates the image only sometimes"
    return spec.model_copy(
        update={"name": f"{spec.name}{which}", "label": label, "meaning": meaning}
    )


def one_or_all(values: Sequence[Any]) -> Any:
    """The only value, or all of several."""
    return values[0] if len(values) == 1 else list(values)


@dataclass(frozen=True, eq=False, kw_only=True)
class MemorisedProtocol(Protocol):
    """Both prompts of every caption, and control prompts, of which nothing is forgotten."""

    captions: Sequence[Sought]
    controls: tuple[str, ...]
    held_out: bool  # whether no control prompt was trained on

    @property
    def seeds(self) -> range:
        return range(self.config.seed, self.config.seed + self.config.forget_samples)

    @property
    def _of_controls(self) -> ConceptProtocol:
        prompts = ConceptPrompts(retain=self.controls)
        return ConceptProtocol(views=self.views, config=self.config, prompts=prompts)

    @property
    def _clips(self) -> dict[str, ClipView]:
        return {name: view for name, view in self.views.items() if isinstance(view, ClipView)}

    def _name(self, number: int, which: str) -> str:
        """Of the samples of a prompt."""
        return which if len(self.captions) == 1 else f"{number}{which}"

    def _of_which(self, which: str) -> list[tuple[int, Sought]]:
        """Captions that have such a prompt, with their numbers from 1."""
        return [(n, one) for n, one in enumerate(self.captions, start=1) if which in one.prompts]

    def samples(self) -> dict[str, Samples]:
        """Those of all prompts, which CLIPs see too, as published; and of control prompts."""
        own = {}
        for number, caption in enumerate(self.captions, start=1):
            observers: dict[str, Observer] = {SIMILARITY: caption.detector, **self._clips}
            for which, prompt in caption.prompts.items():
                own[self._name(number, which)] = Samples(
                    seeds=self.seeds, observers=observers, asked=[prompt] * len(self.seeds)
                )
        return own | self._of_controls.samples()

    def report(self, seen: Mapping[str, Seen], subjects: Subjects) -> Evaluation:
        sampled = f"{subjects.result.sampler.describe()}, for all models"
        controls = self._of_controls.report(seen, subjects)
        results = [
            result
            for which in (ORIGINAL, MODIFIED)
            if self._of_which(which)
            for result in self._results(which, seen, sampled)
        ]
        curves = [
            self._curve(number, caption, seen, sampled)
            for number, caption in enumerate(self.captions, start=1)
        ]
        return Evaluation(
            results=[*results, *map(self._among_controls, controls.results)],
            curves=[*curves, *controls.curves],
            terms=self.terms(),
        )

    def _results(self, which: str, seen: Mapping[str, Seen], sampled: str) -> list[Result]:
        """All figures of one prompt of every caption, and each caption's share by itself."""
        numbered = self._of_which(which)
        sampled = f"{sampled}, conditioned on {_called(which, len(numbered) > 1)}"
        compared = f"{sampled}; {_compared(numbered)}"
        similar = {n: self._seen(n, which, seen, SIMILARITY, SIMILARITY) for n, _ in numbered}
        copies = {
            number: {m: own >= caption.detector.threshold for m, own in similar[number].items()}
            for number, caption in numbered
        }
        count = len(numbered) * len(self.seeds)
        shares = {m: bounded_mean(own) for m, own in _joined(copies).items()}
        means = {m: mean(own) for m, own in _joined(similar).items()}
        results = [
            make_result(of_prompt(spec, which), own, self.seeds, samples=count, protocol=compared)
            for spec, own in ((SHARE, shares), (REFERENCE, means))
        ]
        for name, view in self._clips.items():
            embedded = {n: self._seen(n, which, seen, name, "embedded") for n, _ in numbered}
            quality = {m: mean(prompt_quality(view.clip, e)) for m, e in _joined(embedded).items()}
            results.append(
                make_result(
                    of_prompt(QUALITY, which),
                    quality,
                    self.seeds,
                    samples=count,
                    protocol=f"{sampled}; measured with: {view.clip.name}",
                    extractor=view.extractor,
                )
            )
        return [*results, *self._by_caption(which, numbered, copies, sampled)]

    def _seen(
        self, number: int, which: str, seen: Mapping[str, Seen], observer: str, array: str
    ) -> dict[str, np.ndarray]:
        """What an observer saw of a prompt's samples, by model."""
        observed = of_models(seen, self._name(number, which), observer)
        return {model: arrays[array] for model, arrays in observed.items()}

    def _by_caption(
        self,
        which: str,
        numbered: Sequence[tuple[int, Sought]],
        copies: Mapping[int, Mapping[str, np.ndarray]],
        sampled: str,
    ) -> list[Result]:
        """How often the image of each of several captions is generated."""
        if len(self.captions) == 1:
            return []
        return [
            make_result(
                of_prompt(SHARE, which).about(
                    number, f"caption {number}", f"the image of caption {number}", decides=True
                ),
                {model: bounded_mean(own) for model, own in copies[number].items()},
                self.seeds,
                protocol=f"{sampled}; {caption.detector.called}",
            )
            for number, caption in numbered
        ]

    def _curve(self, number: int, caption: Sought, seen: Mapping[str, Seen], sampled: str) -> Curve:
        similarity = {
            f"{model}{which}": own
            for which in caption.prompts
            for model, own in self._seen(number, which, seen, SIMILARITY, SIMILARITY).items()
        }
        text = f"{sampled}; {caption.detector.comparison.name}"
        curve = similarity_curve(similarity, caption.detector.threshold, text)
        if len(self.captions) == 1:
            return curve
        title = f"{curve.title}, caption {number}"
        return curve.model_copy(update={"name": f"{curve.name}/{number}", "title": title})

    def _among_controls(self, result: Result) -> Result:
        trained = "none of them trained on" if self.held_out else "which may have been trained on"
        prompted = f"prompted with {len(self.controls)} control prompts, {trained}"
        return result.model_copy(update={"protocol": f"{result.protocol}; {prompted}"})

    def terms(self) -> Terms:
        """What two evaluations share if their figures may be compared."""
        detectors = [one.detector for one in self.captions]
        images = [shorten(digest_of_array(one.reference.numpy())) for one in detectors]
        copies = [f"{one.comparison.name}, {one.threshold:.6g}" for one in detectors]
        return {
            "prompt": digest_of(one_or_all([one.prompt for one in self.captions])),
            "modified prompt": digest_of(one_or_all([one.modified for one in self.captions])),
            "control prompts": digest_of(self.controls),
            "copy": "; ".join(copies),
            "memorised image": ", ".join(images),
        }

    def write_sheets(
        self, folder: Path, seen: Mapping[str, Seen], subjects: Subjects, store: Store
    ) -> None:
        """Prompts of captions first, then control prompts, one row each."""
        own = [prompt for caption in self.captions for prompt in caption.prompts.values()]
        rows = [*own, *self.controls[:CONTROL_ROWS]]
        asked = [prompt for prompt in rows for _ in range(COLUMNS)]
        models = (subjects.original, subjects.result)
        write_prompt_grids(folder, models, rows, asked, len(own), self.config, store)


def _called(which: str, several: bool) -> str:
    prompt = "the modified prompt" if which == MODIFIED else "the prompt"
    return f"{prompt} of each caption" if several else prompt


def _compared(numbered: Sequence[tuple[int, Sought]]) -> str:
    """What tells copies, in words for a protocol."""
    (_, first), *others = numbered
    if not others:
        return first.detector.called
    thresholds = ", ".join(f"{one.detector.threshold:.3f}" for _, one in numbered)
    name = first.detector.comparison.name
    return f"{name} with the memorised image of each; copies have at least {thresholds}"


def _joined(values: Mapping[int, Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Values of all captions by model, one caption after the other."""
    parts = list(values.values())
    return {model: np.concatenate([part[model] for part in parts]) for model in parts[0]}
