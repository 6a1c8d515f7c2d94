"""Evidence for requests to forget pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from efface.data.split import copy_distance
from efface.evaluation.grids import SHEETS
from efface.evaluation.observers import DistanceObserver
from efface.evaluation.sample_sets import (
    Observer,
    PixelObserver,
    SampleSet,
    Subject,
    draw_kept,
    observe,
)
from efface.evaluation.store import Store
from efface.evaluation.views import JudgeView, View
from efface.metrics.base import Observations
from efface.metrics.copy_rate import calibrate_distance, count_copies
from efface.metrics.membership_gap import loss_timesteps
from efface.metrics.threshold_curve import distance_curve
from efface.records import Evaluation
from efface.requests.images.feed import Pictures, to_model
from efface.requests.images.probe import Probe
from efface.requests.images.results import Seen, image_results, picture_rows
from efface.requests.images.sheets import comparison_order, write_comparison, write_strips
from efface.settings.reading import EvaluateConfig

NEAR, PIXELS = "distances to the pictures", "the pictures themselves"
MOST_KEPT = 2**26  # bytes of a model's samples; of more those that are shown are drawn again


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageSubjects:
    """The result, the untouched model and, where there is one, a model that never saw them."""

    result: Subject
    untouched: Subject
    retrained: Subject | None = None

    def named(self) -> dict[str, Subject]:
        subjects = {"result": self.result, "baseline": self.untouched}
        return subjects if self.retrained is None else subjects | {"retrained": self.retrained}


@dataclass(frozen=True, eq=False, kw_only=True)
class Drawn:
    """What is left of a model's samples."""

    samples: SampleSet
    distances: np.ndarray  # (N, K) to the pictures to forget
    observed: dict[str, Observations]  # by view
    pixels: np.ndarray | None  # (N, C, H, W) uint8, where they are not too many to be kept

    def pictures(self, rows: Sequence[int], store: Store) -> Tensor:
        """Samples `rows` at eight bits, (len(rows), C, H, W) in [0, 1]."""
        if self.pixels is None:
            return draw_kept(self.samples.only(rows), store, "pictures to look at")
        return torch.from_numpy(self.pixels[list(rows)]).float() / 255


@dataclass(frozen=True, eq=False, kw_only=True)
class Looked:
    """What sheets are made of, by model."""

    drawn: dict[str, Drawn]
    back: dict[str, Tensor]  # (K, C, H, W) in [0, 1]: the pictures to forget noised and denoised
    distance: float  # within which a sample is a copy


def evaluate_images(
    subjects: ImageSubjects,
    pictures: Pictures,
    config: EvaluateConfig,
    views: Mapping[str, View],
    store: Store,
) -> tuple[Evaluation, Looked]:
    """Measure all models by one protocol; also what was looked at."""
    named = subjects.named()
    drawn = {
        name: _draw(subject, pictures, config, views, store) for name, subject in named.items()
    }
    distance = find_copy_distance(pictures, lambda: torch.from_numpy(drawn["baseline"].distances))
    seen: dict[str, Seen] = {}
    back: dict[str, Tensor] = {}
    for name, subject in named.items():
        probe = Probe(subject=subject, config=config, store=store)
        seen[name], back[name] = _measure(probe, drawn[name], pictures, distance)
    judge = views.get("judge")
    sampled = subjects.untouched.sampler.describe()
    nearest = {name: model.distances.min(1) for name, model in drawn.items()}
    evaluation = Evaluation(
        results=image_results(seen, pictures, distance, config, views, sampled),
        judge=judge.judge.reported() if isinstance(judge, JudgeView) else None,
        pictures=picture_rows(seen, pictures),
        curves=[distance_curve(nearest, distance, f"{sampled}, for all models")],
    )
    return evaluation, Looked(drawn=drawn, back=back, distance=distance)


def write_image_sheets(folder: Path, pictures: Pictures, looked: Looked, store: Store) -> None:
    """The pictures of a report, into `folder`."""
    before, after = looked.drawn["baseline"], looked.drawn["result"]
    copies = [model.distances.min(1) < looked.distance for model in (before, after)]
    order = comparison_order(copies)
    sheets = {n: m.pictures(order, store) for n, m in zip(SHEETS, (before, after), strict=True)}
    models = (before.samples.subject, after.samples.subject)
    write_comparison(folder, sheets, copies, order, models)
    back = (looked.back["baseline"], looked.back["result"])
    write_strips(folder, pictures.forget.images.float() / 255, back)


def _draw(
    subject: Subject,
    pictures: Pictures,
    config: EvaluateConfig,
    views: Mapping[str, View],
    store: Store,
) -> Drawn:
    seeds = range(config.seed, config.seed + config.samples)
    samples = SampleSet(subject=subject, seeds=seeds, batch_size=config.batch_size)
    observers: dict[str, Observer] = {n: view.observer for n, view in views.items()}
    observers[NEAR] = DistanceObserver(pictures=pictures.forget.images)
    if len(seeds) * pictures.forget.images[0].numel() <= MOST_KEPT:
        observers[PIXELS] = PixelObserver()
    seen = observe(samples, observers, store, "sampling")
    asked = np.zeros(len(seeds), dtype=np.int64)
    return Drawn(
        samples=samples,
        distances=seen[NEAR]["distances"],
        observed={n: view.observations(seen[n], asked) for n, view in views.items()},
        pixels=seen[PIXELS]["pixels"] if PIXELS in seen else None,
    )


def _measure(
    probe: Probe, drawn: Drawn, pictures: Pictures, distance: float
) -> tuple[Seen, Tensor]:
    """Look at the pictures to forget and at unseen ones in the same way; also the former back."""
    denoiser, config = probe.subject.denoiser, probe.config
    copies, by_picture = count_copies(drawn.distances, distance)
    forget, unseen = to_model(pictures.forget.images), choose_unseen(pictures, config)
    controls = None if unseen is None else unseen[: config.controls]
    timesteps = loss_timesteps(denoiser.schedule.num_timesteps)
    similarity, back = probe.put_back(forget)
    seen = Seen(
        observed=drawn.observed,
        copies=copies,
        copies_by_picture=by_picture,
        timesteps=timesteps,
        losses=probe.losses(forget),
        unseen_losses=None if unseen is None else probe.losses(unseen),
        similarity=similarity,
        unseen_similarity=None if controls is None else probe.put_back(controls)[0],
        bits=probe.bits(forget),
        unseen_bits=None if controls is None else probe.bits(controls),
    )
    return seen, back


def find_copy_distance(pictures: Pictures, untouched: Callable[[], Tensor]) -> float:
    """How near a copy is, from pictures that the model may draw: retained ones, or its samples.

    Not from pictures never seen: those of the same kind can lie so near to a picture that hardly a
    copy is nearer. `untouched` measures samples of the untouched model: distances (N, K).
    """
    if pictures.retain is not None:
        return calibrate_distance(pictures.forget.images, pictures.retain.images)
    return copy_distance(untouched())


def choose_unseen(pictures: Pictures, config: EvaluateConfig) -> Tensor | None:
    """Pictures never seen that are measured, in model space and in the order of controls."""
    if pictures.unseen is None:
        return None
    images = pictures.unseen.images
    spread = torch.linspace(0, len(images) - 1, min(config.unseen, len(images))).long()
    # Shuffled, so that the first few are of all kinds.
    order = torch.randperm(len(spread), generator=torch.Generator().manual_seed(0))
    return to_model(images[spread[order]])
