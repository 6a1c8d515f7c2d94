"""Evidence for requests to forget a memorised picture: how often its prompts still draw it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from efface.diffusion.denoiser import Condition
from efface.diffusion.text.prompts import shortened
from efface.evaluation.grids import Models, draw_both, write_sheets
from efface.evaluation.observers import LikenessObserver
from efface.evaluation.results import Figure, make_result
from efface.evaluation.sample_sets import SampleSet, Subject, digest_of_condition, observe
from efface.evaluation.store import Arrays, Store
from efface.evaluation.views import ClipView, View
from efface.metrics.clip_iqa import prompt_quality
from efface.metrics.intervals import Estimate, mean, proportion
from efface.metrics.threshold_curve import likeness_curve
from efface.records import Evaluation, Result
from efface.requests.classes.evaluation import SAMPLING, ClassSubjects
from efface.requests.concept.evaluation import ConceptProtocol, evaluate_concepts
from efface.requests.concept.prompts import ConceptPrompts, as_text_denoiser
from efface.requests.memorised.sampling import repeat
from efface.requests.memorised.similarity import CopyDetector
from efface.requests.memorised.stages import Modified
from efface.requests.memorised.text_noise import text_noise_norms
from efface.settings.reading import EvaluateConfig, Settings

COLUMNS, CONTROL_ROWS = 8, 6
LIKENESS = "likeness"
ORIGINAL, MODIFIED = "", "_modified"  # what the names of figures end in


@dataclass(frozen=True, eq=False, kw_only=True)
class MemorisedProtocol:
    """What is asked for: both prompts, and control prompts for what else the model draws."""

    prompt: str
    modified: Modified
    controls: tuple[str, ...]
    held_out: bool  # whether training saw none of the control prompts
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
class AskedPrompt:
    """One model asked by one prompt: it draws, once, when a figure first needs its pictures."""

    subject: Subject
    condition: Condition  # one row
    protocol: MemorisedProtocol
    views: Mapping[str, View]  # of which CLIPs look at the prompt's own pictures
    store: Store
    what: str

    @cached_property
    def looked(self) -> dict[str, Arrays]:
        """What was seen of N pictures: their likeness, and what each CLIP embedded."""
        protocol = self.protocol
        likeness = LikenessObserver(detector=protocol.detector, compared_by=protocol.compared_by)
        clips = {n: view.observer for n, view in self.views.items() if isinstance(view, ClipView)}
        samples = SampleSet(
            subject=self.subject,
            seeds=protocol.seeds,
            asked=repeat(self.condition, len(protocol.seeds)),
            batch_size=protocol.settings.evaluate.batch_size,
        )
        return observe(samples, {LIKENESS: likeness, **clips}, self.store, self.what)

    @property
    def similarity(self) -> np.ndarray:
        """(N,) to the memorised picture."""
        return self.looked[LIKENESS]["similarity"]

    def share(self) -> Estimate:
        copies = int((self.similarity >= self.protocol.detector.threshold).sum())
        return proportion(copies, len(self.similarity))

    def reference_similarity(self) -> Estimate:
        return mean(self.similarity)

    def text_noise_norm(self) -> Estimate:
        """What the prompt does at pure noise; no picture is drawn for it."""
        noises, key = self.protocol.noises, None
        if self.subject.digest is not None:
            key = {
                "model": self.subject.digest,
                "measured": "text noise norms",
                "asked": digest_of_condition(self.condition),
                "seeds": [noises.start, noises.stop],
            }
        denoiser = self.subject.denoiser
        measured = self.store.measured(
            key, lambda: {"norms": text_noise_norms(denoiser, self.condition, noises)[0]}
        )
        return mean(measured["norms"])

    def quality(self, name: str) -> Estimate:
        """CLIP-IQA of the pictures of the prompt itself, by the name of a CLIP's view."""
        view = self.views[name]
        assert isinstance(view, ClipView)
        return mean(prompt_quality(view.clip, self.looked[name]["embedded"]))


SHARE, SIMILARITY, NORM, QUALITY = (
    "memorised_share", "reference_similarity", "text_noise_norm", "prompt_clip_iqa",
)  # fmt: skip
OF_A_PROMPT: dict[str, Callable[[AskedPrompt], Estimate]] = {
    SHARE: AskedPrompt.share,
    SIMILARITY: AskedPrompt.reference_similarity,
    NORM: AskedPrompt.text_noise_norm,
}
Seen = dict[str, AskedPrompt]  # by which prompt it was: ORIGINAL, MODIFIED


def evaluate_memorised(
    subjects: ClassSubjects,
    protocol: MemorisedProtocol,
    views: Mapping[str, View],
    store: Store,
) -> Evaluation:
    """Measure all models by one protocol; a CLIP or an extractor looks at the rest as well."""
    seen = {
        model: ask_prompts(subject, protocol, views, store, SAMPLING[model])
        for model, subject in subjects.named().items()
    }
    rest = controls_protocol(protocol.controls, protocol.settings.evaluate)
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
            "results": [*own, *(_about_the_rest(r, protocol) for r in evaluation.results)],
            "curves": [curve, *evaluation.curves],
        }
    )


def _about_the_rest(result: Result, protocol: MemorisedProtocol) -> Result:
    seen = "training saw none of them" if protocol.held_out else "training may have seen them too"
    asked = f"asked for by {len(protocol.controls)} control prompts, {seen}"
    return result.model_copy(update={"protocol": f"{result.protocol}; {asked}"})


def controls_protocol(controls: tuple[str, ...], config: EvaluateConfig) -> ConceptProtocol:
    """What else a model draws: of control prompts nothing is forgotten."""
    return ConceptProtocol(prompts=ConceptPrompts(retain=controls), phrases=None, config=config)


def ask_prompts(
    subject: Subject,
    protocol: MemorisedProtocol,
    views: Mapping[str, View],
    store: Store,
    what: str,
) -> Seen:
    """One model asked by each prompt."""
    return {
        which: AskedPrompt(
            subject=subject,
            condition=condition,
            protocol=protocol,
            views=views,
            store=store,
            what=what,
        )
        for which, condition in protocol.asked(subject).items()
    }


def _about_copies(
    seen: Mapping[str, AskedPrompt], which: str, protocol: MemorisedProtocol, sampled: str
) -> list[Result]:
    asked = _called(which)
    by = f"{sampled}, asked for by {asked}; {protocol.compared_by} with the memorised picture"
    figures = {
        SHARE: (
            Figure(f"{SHARE}{which}", "share", higher_is_better=False),
            protocol.seeds,
            f"{by}; a copy has {protocol.detector.threshold:.3f} or more",
        ),
        SIMILARITY: (Figure(f"{SIMILARITY}{which}", "cosine"), protocol.seeds, by),
        NORM: (
            Figure(f"{NORM}{which}", "norm"),
            protocol.noises,
            f"difference that {asked} makes to the network's output at pure noise, at the last "
            "timestep",
        ),
    }
    return [
        make_result(
            figure,
            {model: OF_A_PROMPT[name](own) for model, own in seen.items()},
            samples=len(seeds),
            seeds=[seeds[0], seeds[-1]],
            protocol=text,
        )
        for name, (figure, seeds, text) in figures.items()
    ]


def _about_quality(
    seen: Mapping[str, AskedPrompt],
    which: str,
    protocol: MemorisedProtocol,
    views: Mapping[str, View],
    sampled: str,
) -> list[Result]:
    """CLIP-IQA of the pictures of the prompt itself, as published."""
    return [
        make_result(
            Figure(f"{QUALITY}{which}", "mean probability", higher_is_better=True),
            {model: own.quality(name) for model, own in seen.items()},
            samples=len(protocol.seeds),
            seeds=[protocol.seeds[0], protocol.seeds[-1]],
            protocol=f"{sampled}, asked for by {_called(which)}; seen by: {view.clip.name}",
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
