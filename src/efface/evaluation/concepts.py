"""Evidence for requests about prompts: pictures, and what a CLIP sees in them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from scipy.special import softmax
from torch import Tensor

from efface.concept_runs import ConceptPrompts
from efface.config import EvaluateConfig
from efface.diffusion.sampling import draw_images
from efface.diffusion.text.prompts import shortened
from efface.evaluation.classes import SAMPLING, ClassSubjects
from efface.evaluation.grids import save_grid
from efface.evaluation.results import Figure, make_result, view_result
from efface.evaluation.sample_sets import Observer, Subject
from efface.evaluation.store import Arrays, Store, digest
from efface.evaluation.views import ClipView, View
from efface.metrics.base import Observations, Side
from efface.metrics.clip import Clip
from efface.metrics.clip_score import ClipScore, prompt_similarity
from efface.metrics.intervals import proportion
from efface.metrics.threshold_curve import threshold_curve
from efface.progress import Bar
from efface.records import Evaluation, Result

PREFERRED = 0.5  # a CLIP prefers the more probable of two texts
COLUMNS, ROWS = 6, 10
FORGOTTEN_ROWS = 5
Seen = dict[Side, Arrays]


@dataclass(frozen=True, eq=False, kw_only=True)
class ConceptProtocol:
    """Which samples are drawn: prompts take turns, sample i has seed first + i.

    `phrases` are the concept and its replacement; where there are none, a CLIP compares every
    prompt to forget with its own target.
    """

    prompts: ConceptPrompts
    phrases: tuple[str, str] | None
    config: EvaluateConfig

    def rows(self, side: Side) -> list[int]:
        """The number of the prompt that each sample is drawn for."""
        given = self.prompts.forget if side == "forget" else self.prompts.retain
        count = self.config.forget_samples if side == "forget" else self.config.retain_samples
        return [i % len(given) for i in range(count)] if given else []

    def asked(self, side: Side) -> list[str]:
        given = self.prompts.forget if side == "forget" else self.prompts.retain
        return [given[row] for row in self.rows(side)]

    def seeds(self, side: Side) -> range:
        first = self.config.seed + (0 if side == "forget" else self.config.forget_samples)
        return range(first, first + len(self.rows(side)))

    def contrasts(self) -> list[tuple[str, str]]:
        """For each sample to forget the two texts that a CLIP chooses between."""
        targets = self.prompts.targets
        if self.phrases is not None:
            return [self.phrases] * len(self.rows("forget"))
        return [(self.prompts.forget[row], targets[row]) for row in self.rows("forget")]


def evaluate_concepts(
    subjects: ClassSubjects, protocol: ConceptProtocol, views: Mapping[str, View], store: Store
) -> Evaluation:
    """Measure all models by one protocol; without a network that looks, nothing is claimed."""
    seen = {
        model: _observe(subject, protocol, views, store, SAMPLING[model])
        for model, subject in (subjects.named() if views else {}).items()
    }
    sampled = (
        f"result: {subjects.result.sampler.describe()}; "
        f"untouched model: {subjects.untouched.sampler.describe()}"
    )
    evaluation = Evaluation(results=[])
    for name, view in views.items():
        looked = {model: sides[name] for model, sides in seen.items()}
        kept = {model: sides["retain"] for model, sides in looked.items()}
        evaluation.results += _kept(view, kept, protocol, sampled)
        if isinstance(view, ClipView) and protocol.prompts.forget:
            gone = {model: sides["forget"] for model, sides in looked.items()}
            evaluation = _with_concept(evaluation, view.clip, gone, protocol, sampled)
    return evaluation


def detector_scores(
    clip: Clip, embedded: np.ndarray, contrasts: Sequence[tuple[str, str]]
) -> np.ndarray:
    """Probability (N,) of the first of two texts per image, at the CLIP's own temperature.

    Images (N, D) come from `clip.embed_images`.
    """
    texts = sorted({text for pair in contrasts for text in pair})
    vectors = clip.embed_prompts(texts).astype(np.float64)
    rows = np.array([[texts.index(text) for text in pair] for pair in contrasts])
    cosines = np.einsum("nd,npd->np", embedded.astype(np.float64), vectors[rows])
    return softmax(clip.temperature * cosines, axis=1)[:, 0]


def _kept(
    view: View, kept: Mapping[str, Arrays], protocol: ConceptProtocol, sampled: str
) -> list[Result]:
    """How good retained samples are, and how well they show what was asked for."""
    asked = protocol.asked("retain")
    labels = np.array(protocol.rows("retain"))
    observed: dict[str, Observations] = {}
    for model, arrays in kept.items():
        observed[model] = view.observations(arrays, labels)
        if isinstance(view, ClipView):
            similar = prompt_similarity(view.clip, arrays["embedded"], asked)
            observed[model] = dataclasses.replace(observed[model], prompt_similarity=similar)
    metrics = view.metrics(labelled=False)
    if isinstance(view, ClipView):
        metrics = (ClipScore(), *metrics)
    seeds = protocol.seeds("retain")
    return [view_result(view, metric, observed, (), seeds, sampled) for metric in metrics]


def _with_concept(
    evaluation: Evaluation,
    clip: Clip,
    gone: Mapping[str, Arrays],
    protocol: ConceptProtocol,
    sampled: str,
) -> Evaluation:
    """How often the CLIP takes what was asked for for the concept rather than for the target."""
    contrasts = protocol.contrasts()
    scores = {
        model: detector_scores(clip, arrays["embedded"], contrasts)
        for model, arrays in gone.items()
    }
    seeds = protocol.seeds("forget")
    against = (
        "the concept and its replacement" if protocol.phrases else "each prompt and its target"
    )
    text = f"{sampled}; seen by: {clip.name}, which chooses between {against}"
    rate = make_result(
        Figure("concept_rate", "share", higher_is_better=False),
        {
            model: proportion(int((values > PREFERRED).sum()), len(values))
            for model, values in scores.items()
        },
        samples=len(seeds),
        seeds=[seeds[0], seeds[-1]],
        protocol=text,
        extractor=clip.described(),
    )
    return evaluation.model_copy(
        update={
            "results": [rate, *evaluation.results],
            "curves": [*evaluation.curves, threshold_curve(scores, clip.name, text)],
        }
    )


def _observe(
    subject: Subject,
    protocol: ConceptProtocol,
    views: Mapping[str, View],
    store: Store,
    what: str,
) -> dict[str, Seen]:
    """Draw both sides once and let all look at them: view -> side -> what it saw."""
    seen: dict[str, Seen] = {name: {} for name in views}
    sides: tuple[Side, ...] = ("forget", "retain")
    for side in sides:
        watching = {
            name: view.observer
            for name, view in views.items()
            if side == "retain" or isinstance(view, ClipView)
        }
        if not protocol.rows(side) or not watching:
            continue
        for name, arrays in _look(subject, protocol, side, watching, store, what).items():
            seen[name][side] = arrays
    return seen


def _look(
    subject: Subject,
    protocol: ConceptProtocol,
    side: Side,
    observers: Mapping[str, Observer],
    store: Store,
    what: str,
) -> dict[str, Arrays]:
    """What each observer saw, kept by model, sampler, prompts and seeds."""
    asked, seeds = protocol.asked(side), protocol.seeds(side)
    keys = {
        name: None
        if subject.digest is None
        else {
            "model": subject.digest,
            "sampler": repr(subject.sampler),
            "seeds": [seeds.start, seeds.stop, seeds.step],
            "prompts": digest({"asked": asked}),  # not in plain: they may be anybody's
            "observer": observer.digest,
        }
        for name, observer in observers.items()
    }
    kept = {name: None if key is None else store.get(key) for name, key in keys.items()}
    seen = {name: arrays for name, arrays in kept.items() if arrays is not None}
    missing = [name for name in observers if name not in seen]
    parts: dict[str, list[Arrays]] = {name: [] for name in missing}
    if missing:
        size = protocol.config.batch_size
        with Bar(what, len(asked), unit="images") as bar:
            for start in range(0, len(asked), size):
                images = _draw(subject, asked[start : start + size], seeds[start : start + size])
                for name in missing:
                    parts[name].append(observers[name](images))
                bar.advance(len(images))
    for name, rows in parts.items():
        seen[name] = {key: np.concatenate([part[key] for part in rows]) for key in rows[0]}
        key = keys[name]
        if key is not None and PartialState().is_main_process:
            store.put(key, seen[name])
    return seen


def _draw(subject: Subject, asked: Sequence[str], seeds: Sequence[int]) -> Tensor:
    condition = subject.denoiser.encode(asked)
    return draw_images(subject.denoiser, subject.sampler, condition, seeds)


def write_prompt_sheets(
    folder: Path, before: Subject, after: Subject, prompts: ConceptPrompts, seed: int
) -> None:
    """`samples/before.png`, `after.png` and `grid.json`: one row per prompt, the same noise.

    Of keywords that a model is guided away from no picture is drawn and none is written.
    """
    shown = prompts.forget[:FORGOTTEN_ROWS] if prompts.negative is None else ()
    rows = [*shown, *prompts.retain][:ROWS]
    folder.mkdir(parents=True, exist_ok=True)
    tile = 0
    for name, subject in (("before", before), ("after", after)):
        drawn = []
        for row, prompt in enumerate(rows):
            first = seed + row * COLUMNS
            drawn.append(_draw(subject, [prompt] * COLUMNS, range(first, first + COLUMNS)))
        tile = drawn[0].shape[-1]
        save_grid(torch.cat(drawn), COLUMNS, folder / f"{name}.png")
    grid = {
        "labels": list(range(len(rows))),
        "names": [shortened(prompt) for prompt in rows],
        "columns": COLUMNS,
        "forgotten": list(range(len(shown))),
        "tile": tile,
        "before": before.sampler.describe(),
        "after": after.sampler.describe(),
    }
    (folder / "grid.json").write_text(json.dumps(grid, indent=2) + "\n", encoding="utf-8")
