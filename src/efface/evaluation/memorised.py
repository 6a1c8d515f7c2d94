"""Evidence for requests to forget a memorised picture: how often its prompts still draw it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from efface.concept_runs import ConceptPrompts, as_text_denoiser
from efface.config import Settings
from efface.diffusion.denoiser import Condition
from efface.diffusion.text.prompts import shortened
from efface.evaluation.classes import SAMPLING, ClassSubjects
from efface.evaluation.concepts import ConceptProtocol, evaluate_concepts
from efface.evaluation.grids import Models, draw_both, write_sheets
from efface.evaluation.observers import LikenessObserver
from efface.evaluation.results import Figure, make_result
from efface.evaluation.sample_sets import SampleSet, Subject, digest_of_condition, observe
from efface.evaluation.store import Store
from efface.evaluation.views import ClipView, View
from efface.memorisation.drawing import repeat
from efface.memorisation.likeness import CopyDetector
from efface.memorisation.text_noise import text_noise_norms
from efface.memorised_stages import Modified
from efface.metrics.clip_iqa import prompt_quality
from efface.metrics.intervals import mean, proportion
from efface.metrics.threshold_curve import likeness_curve
from efface.records import Evaluation, Result

COLUMNS, CONTROL_ROWS = 8, 6
LIKENESS = "likeness"
ORIGINAL, MODIFIED = "", "_modified"  # what the names of figures end in


@dataclass(frozen=True, eq=False, kw_only=True)
class MemorisedProtocol:
    """What is asked for: both prompts, and control prompts for what else the model draws."""

    prompt: str
    modified: Modified
    controls: tuple[str, ...]
    detector: CopyDetector
    compared_by: str
    settings: Settings

    def asked(self, subject: Subject) -> dict[str, Condition]:
        """One row per prompt; a prompt that needed no change is there once."""
        denoiser = as_text_denoiser(subject.denoiser)
        original = {ORIGINAL: denoiser.encode([self.prompt])}
        if self.modified.tried.way == "as it is":
            return original
        return original | {MODIFIED: self.modified.condition.to(denoiser.device)}

    @property
    def seeds(self) -> range:
        first = self.settings.evaluate.seed
        return range(first, first + self.settings.memorised.samples)

    @property
    def noises(self) -> range:
        first = self.settings.evaluate.seed
        return range(first, first + self.settings.memorised.noises)


@dataclass(frozen=True, eq=False, kw_only=True)
class Seen:
    """What one model drew for one prompt."""

    similarity: np.ndarray  # (N,) to the memorised picture
    copies: int
    norms: np.ndarray  # (draws,)
    embedded: dict[str, np.ndarray]  # (N, D) of the pictures, by the name of a CLIP's view


def evaluate_memorised(
    subjects: ClassSubjects,
    protocol: MemorisedProtocol,
    views: Mapping[str, View],
    store: Store,
) -> Evaluation:
    """Measure all models by one protocol; a CLIP or an extractor looks at the rest as well."""
    seen = {
        model: _observe(subject, protocol, views, store, SAMPLING[model])
        for model, subject in subjects.named().items()
    }
    rest = ConceptProtocol(
        prompts=ConceptPrompts(retain=protocol.controls),
        phrases=None,
        config=protocol.settings.evaluate,
    )
    evaluation = evaluate_concepts(subjects, rest, views, store)
    sampled = f"{subjects.result.sampler.describe()}, for all models"
    own: list[Result] = []
    for which in seen["result"]:
        by_model = {model: prompts[which] for model, prompts in seen.items()}
        own += _about_copies(by_model, which, protocol, sampled)
        own += _about_quality(by_model, which, protocol, views, sampled)
    likeness = {
        f"{model}{which}": prompt.similarity
        for model, prompts in seen.items()
        for which, prompt in prompts.items()
    }
    curve = likeness_curve(
        likeness, protocol.detector.threshold, f"{sampled}; {protocol.compared_by}"
    )
    return evaluation.model_copy(
        update={
            "results": [*own, *evaluation.results],
            "curves": [curve, *evaluation.curves],
        }
    )


def _observe(
    subject: Subject,
    protocol: MemorisedProtocol,
    views: Mapping[str, View],
    store: Store,
    what: str,
) -> dict[str, Seen]:
    clips = {name: view.observer for name, view in views.items() if isinstance(view, ClipView)}
    likeness = LikenessObserver(detector=protocol.detector, compared_by=protocol.compared_by)
    seen = {}
    for which, condition in protocol.asked(subject).items():
        samples = SampleSet(
            subject=subject,
            seeds=protocol.seeds,
            asked=repeat(condition, len(protocol.seeds)),
            batch_size=protocol.settings.evaluate.batch_size,
        )
        looked = observe(samples, {LIKENESS: likeness, **clips}, store, what)
        similarity = looked[LIKENESS]["similarity"]
        seen[which] = Seen(
            similarity=similarity,
            copies=int((similarity >= protocol.detector.threshold).sum()),
            norms=_norms(subject, condition, protocol.noises, store),
            embedded={name: looked[name]["embedded"] for name in clips},
        )
    return seen


def _norms(subject: Subject, condition: Condition, noises: range, store: Store) -> np.ndarray:
    """What the prompt does at pure noise, (draws,), measured once."""
    key = None
    if subject.digest is not None:
        key = {
            "model": subject.digest,
            "measured": "text noise norms",
            "asked": digest_of_condition(condition),
            "seeds": [noises.start, noises.stop],
        }
    return store.measured(
        key, lambda: {"norms": text_noise_norms(subject.denoiser, condition, noises)[0]}
    )["norms"]


def _about_copies(
    seen: Mapping[str, Seen], which: str, protocol: MemorisedProtocol, sampled: str
) -> list[Result]:
    asked = "the modified prompt" if which == MODIFIED else "the prompt"
    count, seeds = len(protocol.seeds), [protocol.seeds[0], protocol.seeds[-1]]
    by = f"{sampled}, asked for by {asked}; {protocol.compared_by} with the memorised picture"
    return [
        make_result(
            Figure(f"memorised_share{which}", "share", higher_is_better=False),
            {model: proportion(own.copies, count) for model, own in seen.items()},
            samples=count,
            seeds=seeds,
            protocol=f"{by}; a copy has {protocol.detector.threshold:.3f} or more",
        ),
        make_result(
            Figure(f"reference_similarity{which}", "cosine"),
            {model: mean(own.similarity) for model, own in seen.items()},
            samples=count,
            seeds=seeds,
            protocol=by,
        ),
        make_result(
            Figure(f"text_noise_norm{which}", "norm"),
            {model: mean(own.norms) for model, own in seen.items()},
            samples=len(protocol.noises),
            seeds=[protocol.noises[0], protocol.noises[-1]],
            protocol=f"difference that {asked} makes to the network's output at pure noise, at "
            "the last timestep",
        ),
    ]


def _about_quality(
    seen: Mapping[str, Seen],
    which: str,
    protocol: MemorisedProtocol,
    views: Mapping[str, View],
    sampled: str,
) -> list[Result]:
    """CLIP-IQA of the pictures of the prompt itself, as published."""
    asked = "the modified prompt" if which == MODIFIED else "the prompt"
    return [
        make_result(
            Figure(f"prompt_clip_iqa{which}", "mean probability", higher_is_better=True),
            {
                model: mean(prompt_quality(view.clip, own.embedded[name]))
                for model, own in seen.items()
            },
            samples=len(protocol.seeds),
            seeds=[protocol.seeds[0], protocol.seeds[-1]],
            protocol=f"{sampled}, asked for by {asked}; seen by: {view.clip.name}",
            extractor=view.extractor,
        )
        for name, view in views.items()
        if isinstance(view, ClipView)
    ]


def write_memorised_sheets(
    folder: Path, models: Models, protocol: MemorisedProtocol, store: Store
) -> None:
    """`samples/before.png`, `after.png` and `grid.json`: one row per prompt, the same noise.

    Both prompts first, then control prompts.
    """
    controls = protocol.controls[:CONTROL_ROWS]
    asked = list(protocol.asked(models[0]).values())  # both models have the same text encoders
    own = len(asked)
    rows = Condition.cat([*asked, as_text_denoiser(models[0].denoiser).encode(controls)])
    every = torch.arange(len(rows)).repeat_interleave(COLUMNS)
    sheets = draw_both(models, rows[every], protocol.settings.evaluate, store)
    names = [protocol.prompt, protocol.modified.called][:own]
    grid = {
        "labels": list(range(own + len(controls))),
        "names": [shortened(text) for text in [*names, *controls]],
        "columns": COLUMNS,
        "asked": "prompt",
        "forgotten": list(range(own)),
        "tile": sheets["before"].shape[-1],
    }
    write_sheets(folder, sheets, grid, models)
