"""Evidence for requests to forget a memorised image: how often its prompts still generate it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from efface.diffusion.denoiser import Condition
from efface.diffusion.text.denoiser import as_text_denoiser
from efface.evaluation.grids import Models, write_prompt_grids
from efface.evaluation.results import make_result
from efface.evaluation.sample_sets import SampleSet, Subject, digest_of_condition, observe
from efface.evaluation.store import Store
from efface.evaluation.subjects import SAMPLING, Subjects
from efface.evaluation.views import ClipView, View
from efface.metrics.clip_iqa import prompt_quality
from efface.metrics.intervals import bounded_mean, mean
from efface.metrics.threshold_curve import similarity_curve
from efface.records import Evaluation, Margin, Result, Spec
from efface.requests.concept.evaluation import evaluate_concepts
from efface.requests.concept.prompts import ConceptPrompts
from efface.requests.concept.protocol import ConceptProtocol
from efface.requests.memorised.protocol import MODIFIED, MemorisedProtocol
from efface.requests.memorised.sampling import repeat
from efface.requests.memorised.similarity import SimilarityObserver
from efface.requests.memorised.text_noise import text_noise_norms

COLUMNS, CONTROL_ROWS = 8, 6
SIMILARITY = "similarity"  # the observer's name, and that of its array


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


@dataclass(frozen=True, eq=False, kw_only=True)
class Seen:
    """What was measured of one model and one prompt, in N samples."""

    similarity: np.ndarray  # (N,) to the memorised image
    norms: np.ndarray  # text-noise norms by draw; nothing is sampled for them
    quality: dict[str, np.ndarray]  # (N,) CLIP-IQA, by the view of a CLIP


def evaluate_memorised(
    subjects: Subjects, protocol: MemorisedProtocol, views: Mapping[str, View], store: Store
) -> Evaluation:
    """Measure all models by one protocol; a CLIP or an extractor evaluates control prompts too."""
    seen: dict[str, dict[str, Seen]] = {}  # by which prompt it is, ORIGINAL or MODIFIED, and model
    for model, subject in subjects.named().items():
        for which, condition in protocol.conditions(subject).items():
            found = _observe(subject, condition, protocol, views, store, SAMPLING[model])
            seen.setdefault(which, {})[model] = found
    # Of control prompts nothing is forgotten.
    controls = ConceptProtocol(
        prompts=ConceptPrompts(retain=protocol.controls), config=protocol.settings.evaluate
    )
    evaluation = evaluate_concepts(subjects, controls, views, store)
    sampled = f"{subjects.result.sampler.describe()}, for all models"
    results: list[Result] = []
    for which, models in seen.items():
        results += _results(models, which, protocol, views, sampled)
    similarity = {
        f"{model}{which}": seen[which][model].similarity
        for model in subjects.named()
        for which in seen
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


def _observe(
    subject: Subject,
    condition: Condition,
    protocol: MemorisedProtocol,
    views: Mapping[str, View],
    store: Store,
    what: str,
) -> Seen:
    """Sample one prompt (one row) once for all networks, of which CLIPs evaluate it."""
    clips = {name: view for name, view in views.items() if isinstance(view, ClipView)}
    samples = SampleSet(
        subject=subject,
        seeds=protocol.seeds,
        asked=repeat(condition, len(protocol.seeds)),
        batch_size=protocol.settings.evaluate.batch_size,
    )
    observers = {SIMILARITY: SimilarityObserver(detector=protocol.detector), **clips}
    observed = observe(samples, observers, store, what)
    noises, key = protocol.noises, None
    if subject.digest is not None:
        key = {
            "model": subject.digest,
            "measured": "text noise norms",
            "condition": digest_of_condition(condition),
            "seeds": [noises.start, noises.stop],
        }
    norms = store.measured(
        key, lambda: {"norms": text_noise_norms(subject.denoiser, condition, noises)[0]}
    )
    return Seen(
        similarity=observed[SIMILARITY]["similarity"],
        norms=norms["norms"],
        quality={
            n: prompt_quality(clip.clip, observed[n]["embedded"]) for n, clip in clips.items()
        },
    )


def _of_controls(result: Result, protocol: MemorisedProtocol) -> Result:
    trained = "none of them trained on" if protocol.held_out else "which may have been trained on"
    prompted = f"prompted with {len(protocol.controls)} control prompts, {trained}"
    return result.model_copy(update={"protocol": f"{result.protocol}; {prompted}"})


def _results(
    models: Mapping[str, Seen],
    which: str,
    protocol: MemorisedProtocol,
    views: Mapping[str, View],
    sampled: str,
) -> list[Result]:
    """All figures of one prompt; CLIP-IQA of its own samples, as published."""
    prompt = "the modified prompt" if which == MODIFIED else "the prompt"
    detector, sampled = protocol.detector, f"{sampled}, conditioned on {prompt}"
    compared = f"{sampled}; {detector.comparison.name} with the memorised image"
    copy = f"{compared}; a copy has {detector.threshold:.3f} or more"
    effect = (
        f"difference that {prompt} makes to the network's output at pure noise, at the last "
        "timestep"
    )

    figures = [
        (
            SHARE,
            {m: bounded_mean(seen.similarity >= detector.threshold) for m, seen in models.items()},
            protocol.seeds,
            copy,
            None,
        ),
        (
            REFERENCE,
            {m: mean(seen.similarity) for m, seen in models.items()},
            protocol.seeds,
            compared,
            None,
        ),
        (NORM, {m: mean(seen.norms) for m, seen in models.items()}, protocol.noises, effect, None),
        *(
            (
                QUALITY,
                {m: mean(seen.quality[name]) for m, seen in models.items()},
                protocol.seeds,
                f"{sampled}; measured with: {view.clip.name}",
                view.extractor,
            )
            for name, view in views.items()
            if isinstance(view, ClipView)
        ),
    ]
    return [
        make_result(of_prompt(spec, which), values, seeds, protocol=text, extractor=extractor)
        for spec, values, seeds, text, extractor in figures
    ]


def write_memorised_sheets(
    folder: Path, models: Models, protocol: MemorisedProtocol, store: Store
) -> None:
    """Both prompts first, then control prompts, one row each."""
    controls = protocol.controls[:CONTROL_ROWS]
    own = list(protocol.conditions(models[0]).values())  # both models have the same text encoders
    rows = Condition.cat([*own, as_text_denoiser(models[0].denoiser).encode(controls)])
    asked = rows[torch.arange(len(rows)).repeat_interleave(COLUMNS)]
    names = [*[protocol.prompt, protocol.modified.called][: len(own)], *controls]
    config = protocol.settings.evaluate
    write_prompt_grids(folder, models, names, asked, len(own), config, store)
