"""Evidence for requests to forget a memorised image: how often its prompts still generate it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from efface.diffusion.denoiser import Condition
from efface.diffusion.text.denoiser import as_text_denoiser
from efface.diffusion.text.prompts import shortened
from efface.evaluation.grids import Models, draw_both, write_sheets
from efface.evaluation.results import make_result
from efface.evaluation.sample_sets import SampleSet, Subject, digest_of_condition, observe
from efface.evaluation.store import Arrays, Store
from efface.evaluation.subjects import SAMPLING, Subjects
from efface.evaluation.views import ClipView, View
from efface.metrics.clip_iqa import prompt_quality
from efface.metrics.intervals import Estimate, mean, proportion
from efface.metrics.threshold_curve import similarity_curve
from efface.records import Evaluation, Margin, Result, Spec
from efface.requests.concept.evaluation import evaluate_concepts
from efface.requests.concept.prompts import ConceptPrompts
from efface.requests.concept.protocol import ConceptProtocol
from efface.requests.memorised.protocol import MODIFIED, MemorisedProtocol
from efface.requests.memorised.sampling import repeat
from efface.requests.memorised.similarity import SimilarityObserver
from efface.requests.memorised.text_noise import text_noise_norms
from efface.settings.evaluate import EvaluateSettings

COLUMNS, CONTROL_ROWS = 8, 6
SIMILARITY = "similarity"  # the observer's name, and that of its array


@dataclass(frozen=True, eq=False, kw_only=True)
class PromptSamples:
    """One model and one prompt: sampled once, when a figure first needs the samples."""

    subject: Subject
    condition: Condition  # one row
    protocol: MemorisedProtocol
    views: Mapping[str, View]  # of which CLIPs evaluate the samples
    store: Store
    what: str

    @cached_property
    def observed(self) -> dict[str, Arrays]:
        """Of N samples: their similarity, and what each CLIP embedded."""
        protocol = self.protocol
        clips = {n: view.observer for n, view in self.views.items() if isinstance(view, ClipView)}
        samples = SampleSet(
            subject=self.subject,
            seeds=protocol.seeds,
            asked=repeat(self.condition, len(protocol.seeds)),
            batch_size=protocol.settings.evaluate.batch_size,
        )
        similarity = SimilarityObserver(detector=protocol.detector)
        return observe(samples, {SIMILARITY: similarity, **clips}, self.store, self.what)

    @property
    def similarity(self) -> np.ndarray:
        """(N,) to the memorised image."""
        return self.observed[SIMILARITY]["similarity"]

    def share(self) -> Estimate:
        copies = int((self.similarity >= self.protocol.detector.threshold).sum())
        return proportion(copies, len(self.similarity))

    def reference_similarity(self) -> Estimate:
        return mean(self.similarity)

    def text_noise_norm(self) -> Estimate:
        """The prompt's effect at pure noise; nothing is sampled for it."""
        noises, key = self.protocol.noises, None
        if self.subject.digest is not None:
            key = {
                "model": self.subject.digest,
                "measured": "text noise norms",
                "condition": digest_of_condition(self.condition),
                "seeds": [noises.start, noises.stop],
            }
        denoiser = self.subject.denoiser
        measured = self.store.measured(
            key, lambda: {"norms": text_noise_norms(denoiser, self.condition, noises)[0]}
        )
        return mean(measured["norms"])

    def quality(self, name: str) -> Estimate:
        """CLIP-IQA of the samples of the prompt itself, by the name of a CLIP's view."""
        view = self.views[name]
        assert isinstance(view, ClipView)
        return mean(prompt_quality(view.clip, self.observed[name]["embedded"]))


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
NORM = Spec(
    name="text_noise_norm",
    label="Text-noise norm",
    meaning="how much the prompt changes the predicted noise: large where an image is memorised",
    unit="norm",
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


def evaluate_memorised(
    subjects: Subjects, protocol: MemorisedProtocol, views: Mapping[str, View], store: Store
) -> Evaluation:
    """Measure all models by one protocol; a CLIP or an extractor evaluates control prompts too."""
    prompts = {
        model: prompt_samples(subject, protocol, views, store, SAMPLING[model])
        for model, subject in subjects.named().items()
    }
    controls = controls_protocol(protocol.controls, protocol.settings.evaluate)
    evaluation = evaluate_concepts(subjects, controls, views, store)
    sampled = f"{subjects.result.sampler.describe()}, for all models"
    results: list[Result] = []
    for which in prompts["result"]:
        models = {model: by_prompt[which] for model, by_prompt in prompts.items()}
        results += _copy_results(models, which, protocol, sampled)
        results += _quality_results(models, which, protocol, views, sampled)
    similarity = {
        f"{model}{which}": samples.similarity
        for model, by_prompt in prompts.items()
        for which, samples in by_prompt.items()
    }
    detector = protocol.detector
    text = f"{sampled}; {detector.comparison.name}"
    curve = similarity_curve(similarity, detector.threshold, text)
    return evaluation.model_copy(
        update={
            "results": [*results, *(_of_controls(r, protocol) for r in evaluation.results)],
            "curves": [curve, *evaluation.curves],
            "terms": protocol.terms(),
        }
    )


def _of_controls(result: Result, protocol: MemorisedProtocol) -> Result:
    trained = "none of them trained on" if protocol.held_out else "which may have been trained on"
    prompted = f"prompted with {len(protocol.controls)} control prompts, {trained}"
    return result.model_copy(update={"protocol": f"{result.protocol}; {prompted}"})


def controls_protocol(controls: tuple[str, ...], config: EvaluateSettings) -> ConceptProtocol:
    """What else a model generates: of control prompts nothing is forgotten."""
    return ConceptProtocol(prompts=ConceptPrompts(retain=controls), config=config)


def prompt_samples(
    subject: Subject,
    protocol: MemorisedProtocol,
    views: Mapping[str, View],
    store: Store,
    what: str,
) -> dict[str, PromptSamples]:
    """One model with each prompt, by which prompt it is: ORIGINAL, MODIFIED."""
    return {
        which: PromptSamples(
            subject=subject,
            condition=condition,
            protocol=protocol,
            views=views,
            store=store,
            what=what,
        )
        for which, condition in protocol.conditions(subject).items()
    }


def _copy_results(
    models: Mapping[str, PromptSamples], which: str, protocol: MemorisedProtocol, sampled: str
) -> list[Result]:
    prompt, detector = _called(which), protocol.detector
    compared = (
        f"{sampled}, conditioned on {prompt}; {detector.comparison.name} with the memorised image"
    )
    copy = f"{compared}; a copy has {detector.threshold:.3f} or more"
    effect = (
        f"difference that {prompt} makes to the network's output at pure noise, at the last "
        "timestep"
    )
    figures: list[tuple[Spec, Callable[[PromptSamples], Estimate], range, str]] = [
        (SHARE, PromptSamples.share, protocol.seeds, copy),
        (REFERENCE, PromptSamples.reference_similarity, protocol.seeds, compared),
        (NORM, PromptSamples.text_noise_norm, protocol.noises, effect),
    ]
    return [
        make_result(
            of_prompt(spec, which),
            {model: measure(samples) for model, samples in models.items()},
            samples=len(seeds),
            seeds=[seeds[0], seeds[-1]],
            protocol=text,
        )
        for spec, measure, seeds, text in figures
    ]


def _quality_results(
    models: Mapping[str, PromptSamples],
    which: str,
    protocol: MemorisedProtocol,
    views: Mapping[str, View],
    sampled: str,
) -> list[Result]:
    """CLIP-IQA of the samples of the prompt itself, as published."""
    return [
        make_result(
            of_prompt(QUALITY, which),
            {model: samples.quality(name) for model, samples in models.items()},
            samples=len(protocol.seeds),
            seeds=[protocol.seeds[0], protocol.seeds[-1]],
            protocol=f"{sampled}, conditioned on {_called(which)}; measured with: {view.clip.name}",
            extractor=view.extractor,
        )
        for name, view in views.items()
        if isinstance(view, ClipView)
    ]


def _called(which: str) -> str:
    return "the modified prompt" if which == MODIFIED else "the prompt"


def write_memorised_sheets(
    folder: Path, models: Models, protocol: MemorisedProtocol, store: Store
) -> None:
    """`samples/before.png`, `after.png` and `grid.json`: one row per prompt, the same noise.

    Both prompts first, then control prompts.
    """
    controls = protocol.controls[:CONTROL_ROWS]
    own = list(protocol.conditions(models[0]).values())  # both models have the same text encoders
    encoded = as_text_denoiser(models[0].denoiser).encode(controls)
    rows = Condition.cat([*own, encoded])
    repeated = rows[torch.arange(len(rows)).repeat_interleave(COLUMNS)]
    sheets = draw_both(models, repeated, protocol.settings.evaluate, store)
    names = [protocol.prompt, protocol.modified.called][: len(own)]
    grid = {
        "labels": list(range(len(rows))),
        "names": [shortened(text) for text in [*names, *controls]],
        "columns": COLUMNS,
        "asked": "prompt",
        "forgotten": list(range(len(own))),
        "tile": sheets["before"].shape[-1],
    }
    write_sheets(folder, sheets, grid, models)
