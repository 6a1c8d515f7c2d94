"""How requests to forget a memorised image are measured: how often its prompts still generate it.

A CLIP or an extractor sees the samples of control prompts too, for what else the model generates.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from efface.evaluation.grids import write_prompt_grids
from efface.evaluation.protocol import (
    Protocol,
    Samples,
    Seen,
    Terms,
    always,
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
from efface.requests.memorised.similarity import SIMILARITY, CopyDetector

ORIGINAL, MODIFIED = "", "_modified"  # prompts, by what the names of their figures end in
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


@dataclass(frozen=True, eq=False, kw_only=True)
class MemorisedProtocol(Protocol):
    """Both prompts, and control prompts, of which nothing is forgotten."""

    prompt: str
    modified: str
    controls: tuple[str, ...]
    held_out: bool  # whether no control prompt was trained on
    detector: CopyDetector

    @property
    def prompts(self) -> dict[str, str]:
        """The original and the modified one; a prompt that needed no change is there once."""
        own = {ORIGINAL: self.prompt}
        return own if self.modified == self.prompt else own | {MODIFIED: self.modified}

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

    def samples(self) -> dict[str, Samples]:
        """Those of both prompts, which CLIPs see too, as published; and of control prompts."""
        observers: dict[str, Observer] = {SIMILARITY: self.detector, **self._clips}
        own = {
            which: Samples(
                seeds=self.seeds, observers=observers, asked=always([prompt] * len(self.seeds))
            )
            for which, prompt in self.prompts.items()
        }
        return own | self._of_controls.samples()

    def report(self, seen: Mapping[str, Seen], subjects: Subjects) -> Evaluation:
        sampled = f"{subjects.result.sampler.describe()}, for all models"
        controls = self._of_controls.report(seen, subjects)
        results = [
            result for which in self.prompts for result in self._results(which, seen, sampled)
        ]
        return Evaluation(
            results=[*results, *map(self._among_controls, controls.results)],
            curves=[self._curve(seen, sampled), *controls.curves],
            terms=self.terms(),
        )

    def _results(self, which: str, seen: Mapping[str, Seen], sampled: str) -> list[Result]:
        """All figures of one prompt."""
        prompt = "the modified prompt" if which == MODIFIED else "the prompt"
        detector, sampled = self.detector, f"{sampled}, conditioned on {prompt}"
        compared = f"{sampled}; {detector.called}"
        similar = {m: o[SIMILARITY] for m, o in of_models(seen, which, SIMILARITY).items()}
        copies = {m: bounded_mean(own >= detector.threshold) for m, own in similar.items()}
        similarity = {m: mean(own) for m, own in similar.items()}
        results = [
            make_result(of_prompt(SHARE, which), copies, self.seeds, protocol=compared),
            make_result(of_prompt(REFERENCE, which), similarity, self.seeds, protocol=compared),
        ]
        for name, view in self._clips.items():
            embedded = {m: o["embedded"] for m, o in of_models(seen, which, name).items()}
            quality = {m: mean(prompt_quality(view.clip, own)) for m, own in embedded.items()}
            text, spec = f"{sampled}; measured with: {view.clip.name}", of_prompt(QUALITY, which)
            results.append(
                make_result(spec, quality, self.seeds, protocol=text, extractor=view.extractor)
            )
        return results

    def _curve(self, seen: Mapping[str, Seen], sampled: str) -> Curve:
        similarity = {
            f"{model}{which}": own[which][SIMILARITY][SIMILARITY]
            for model, own in seen.items()
            for which in self.prompts
        }
        text = f"{sampled}; {self.detector.comparison.name}"
        return similarity_curve(similarity, self.detector.threshold, text)

    def _among_controls(self, result: Result) -> Result:
        trained = "none of them trained on" if self.held_out else "which may have been trained on"
        prompted = f"prompted with {len(self.controls)} control prompts, {trained}"
        return result.model_copy(update={"protocol": f"{result.protocol}; {prompted}"})

    def terms(self) -> Terms:
        """What two evaluations share if their figures may be compared."""
        detector = self.detector
        return {
            "prompt": digest_of(self.prompt),
            "modified prompt": digest_of(self.modified),
            "control prompts": digest_of(self.controls),
            "copy": f"{detector.comparison.name}, {detector.threshold:.6g}",
            "memorised image": shorten(digest_of_array(detector.reference.numpy())),
        }

    def write_sheets(
        self, folder: Path, seen: Mapping[str, Seen], subjects: Subjects, store: Store
    ) -> None:
        """Both prompts first, then control prompts, one row each."""
        rows = [*self.prompts.values(), *self.controls[:CONTROL_ROWS]]
        asked = [prompt for prompt in rows for _ in range(COLUMNS)]
        models = (subjects.original, subjects.result)
        write_prompt_grids(folder, models, rows, asked, len(self.prompts), self.config, store)
