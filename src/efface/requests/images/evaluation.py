"""Evidence for requests to forget images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from efface.data.images import to_model
from efface.data.split import Split, copy_distance
from efface.evaluation.grids import SHEETS
from efface.evaluation.sample_sets import (
    DistanceObserver,
    Observer,
    PixelObserver,
    SampleSet,
    Subject,
    draw_kept,
    observe,
)
from efface.evaluation.store import Store
from efface.evaluation.subjects import Subjects
from efface.evaluation.views import JudgeView, View
from efface.metrics.base import Observations
from efface.metrics.copy_rate import calibrate_distance, count_copies
from efface.metrics.membership_gap import loss_timesteps
from efface.metrics.threshold_curve import distance_curve
from efface.records import Evaluation
from efface.requests.images.probe import Probe
from efface.requests.images.protocol import ImageProtocol
from efface.requests.images.results import Seen, image_results, image_rows
from efface.requests.images.sheets import comparison_order, write_comparison, write_strips

NEAR, PIXELS = "distances to the images", "the images themselves"
MOST_KEPT = 2**26  # bytes of a model's samples; of more those that are shown are drawn again


@dataclass(frozen=True, eq=False, kw_only=True)
class Sampled:
    """What is left of a model's samples."""

    samples: SampleSet
    distances: np.ndarray  # (N, K) to the images to forget
    observed: dict[str, Observations]  # by view
    pixels: np.ndarray | None  # (N, C, H, W) uint8, where they are not too many to be kept

    def images(self, rows: Sequence[int], store: Store) -> Tensor:
        """Samples `rows` at eight bits, (len(rows), C, H, W) in [0, 1]."""
        if self.pixels is None:
            return draw_kept(self.samples.only(rows), store, "samples to look at")
        return torch.from_numpy(self.pixels[list(rows)]).float() / 255


@dataclass(frozen=True, eq=False, kw_only=True)
class Looked:
    """What sheets are made of, by model."""

    sampled: dict[str, Sampled]
    back: dict[str, Tensor]  # (K, C, H, W) in [0, 1]: the images to forget noised and denoised
    distance: float  # within which a sample is a copy


def evaluate_images(
    subjects: Subjects, protocol: ImageProtocol, views: Mapping[str, View], store: Store
) -> tuple[Evaluation, Looked]:
    """Measure all models by one protocol; also what sheets are made of."""
    named = subjects.named()
    sampled = {name: _sample(subject, protocol, views, store) for name, subject in named.items()}
    distance = find_copy_distance(
        protocol.split, lambda: torch.from_numpy(sampled["baseline"].distances)
    )
    seen: dict[str, Seen] = {}
    back: dict[str, Tensor] = {}
    for name, subject in named.items():
        probe = Probe(subject=subject, protocol=protocol, store=store)
        seen[name], back[name] = _measure(probe, sampled[name], distance)
    judge = views.get("judge")
    sampler = subjects.original.sampler.describe()
    nearest = {name: model.distances.min(1) for name, model in sampled.items()}
    evaluation = Evaluation(
        results=image_results(seen, protocol, distance, views, sampler),
        judge=judge.judge.reported() if isinstance(judge, JudgeView) else None,
        images=image_rows(seen, protocol.split),
        curves=[distance_curve(nearest, distance, f"{sampler}, for all models")],
    )
    return evaluation, Looked(sampled=sampled, back=back, distance=distance)


def write_image_sheets(folder: Path, split: Split, looked: Looked, store: Store) -> None:
    """The images of a report, into `folder`."""
    before, after = looked.sampled["baseline"], looked.sampled["result"]
    copies = [model.distances.min(1) < looked.distance for model in (before, after)]
    order = comparison_order(copies)
    sheets = {n: m.images(order, store) for n, m in zip(SHEETS, (before, after), strict=True)}
    models = (before.samples.subject, after.samples.subject)
    write_comparison(folder, sheets, copies, order, models)
    back = (looked.back["baseline"], looked.back["result"])
    write_strips(folder, split.forget.images.float() / 255, back)


def _sample(
    subject: Subject, protocol: ImageProtocol, views: Mapping[str, View], store: Store
) -> Sampled:
    seeds, forget = protocol.seeds, protocol.split.forget.images
    samples = SampleSet(subject=subject, seeds=seeds, batch_size=protocol.config.batch_size)
    observers: dict[str, Observer] = {**views, NEAR: DistanceObserver(images=forget)}
    if len(seeds) * forget[0].numel() <= MOST_KEPT:
        observers[PIXELS] = PixelObserver()
    seen = observe(samples, observers, store, "sampling")
    labels = np.zeros(len(seeds), dtype=np.int64)
    return Sampled(
        samples=samples,
        distances=seen[NEAR]["distances"],
        observed={n: view.observations(seen[n], labels) for n, view in views.items()},
        pixels=seen[PIXELS]["pixels"] if PIXELS in seen else None,
    )


def _measure(probe: Probe, sampled: Sampled, distance: float) -> tuple[Seen, Tensor]:
    """Look at the images to forget and at unseen ones in the same way; also the former back."""
    denoiser, protocol = probe.subject.denoiser, probe.protocol
    copies, by_image = count_copies(sampled.distances, distance)
    forget, unseen = to_model(protocol.split.forget.images), protocol.chosen_unseen()
    controls = None if unseen is None else unseen[: protocol.own.controls]
    similarity, back = probe.put_back(forget)
    seen = Seen(
        observed=sampled.observed,
        copies=copies,
        copies_by_image=by_image,
        timesteps=loss_timesteps(denoiser.schedule.num_timesteps),
        losses=probe.losses(forget),
        unseen_losses=None if unseen is None else probe.losses(unseen),
        similarity=similarity,
        unseen_similarity=None if controls is None else probe.put_back(controls)[0],
        bits=probe.bits(forget),
        unseen_bits=None if controls is None else probe.bits(controls),
    )
    return seen, back


def find_copy_distance(split: Split, original: Callable[[], Tensor]) -> float:
    """How near a copy is, from images that the model may generate: retained ones, or its samples.

    Not from unseen images: those of the same kind can lie so near to an image that hardly a copy is
    nearer. `original` measures samples of the original model: distances (N, K).
    """
    if split.retain is not None:
        return calibrate_distance(split.forget.images, split.retain.images)
    return copy_distance(original())
