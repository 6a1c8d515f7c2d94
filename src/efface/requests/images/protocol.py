"""How requests to forget images are measured: samples, and what a model makes of given images."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor

from efface.data.images import ImageSet, to_model
from efface.data.split import Split, copy_distance
from efface.evaluation.grids import SHEETS, Models, save_grid, write_sheets
from efface.evaluation.protocol import PROBES, Looked, Protocol, Samples, Seen
from efface.evaluation.sample_sets import (
    DistanceObserver,
    Observer,
    PixelObserver,
    Subject,
    draw_kept,
)
from efface.evaluation.store import Store
from efface.evaluation.subjects import Subjects
from efface.metrics.copy_rate import calibrate_distance, count_copies
from efface.metrics.membership_gap import loss_timesteps
from efface.metrics.threshold_curve import distance_curve
from efface.records import Evaluation
from efface.requests.images.probe import Probe
from efface.requests.images.results import Measured, image_results, image_rows, request_results
from efface.requests.images.settings import ImageSettings

SAMPLES = "samples"
NEAR, PIXELS = "distances to the images", "the images themselves"  # observers
FORGET, UNSEEN, CONTROLS = "forget", "unseen", "controls"  # images that are shown to a model
ALL = slice(None)
MOST_KEPT = 2**26  # bytes of a model's samples; of more those that are shown are drawn again
COLUMNS, ROWS = 10, 5
IMAGES = 10


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageProtocol(Protocol):
    """The images of a request, and how all models are measured; sample i has seed first + i."""

    split: Split
    unseen: ImageSet | None
    own: ImageSettings
    digests: Mapping[str, str]  # of the sets of images, by what they are
    counts: Sequence[int] = ()  # of images to forget, by request

    @property
    def seeds(self) -> range:
        return range(self.config.seed, self.config.seed + self.own.samples)

    def chosen_unseen(self) -> Tensor | None:
        """Unseen images (M, C, H, W) in model space; the first of them are of all kinds."""
        if self.unseen is None:
            return None
        images = self.unseen.images
        spread = torch.linspace(0, len(images) - 1, min(self.own.unseen, len(images))).long()
        order = torch.randperm(len(spread), generator=torch.Generator().manual_seed(0))
        return to_model(images[spread[order]])

    def samples(self) -> dict[str, Samples]:
        forget = self.split.forget.images
        observers: dict[str, Observer] = {**self.views, NEAR: DistanceObserver(images=forget)}
        if len(self.seeds) * forget[0].numel() <= MOST_KEPT:
            observers[PIXELS] = PixelObserver()
        return {SAMPLES: Samples(seeds=self.seeds, observers=observers)}

    def probe(self, subject: Subject, store: Store) -> Looked:
        """Look at the images to forget and at unseen ones in the same way."""
        probe = Probe(subject=subject, own=self.own, seed=self.config.seed, store=store)
        forget, unseen = to_model(self.split.forget.images), self.chosen_unseen()
        found = {FORGET: probe.losses(forget) | probe.put_back(forget) | probe.bits(forget)}
        if unseen is not None:
            controls = unseen[: self.own.controls]
            found[UNSEEN] = probe.losses(unseen)
            found[CONTROLS] = probe.put_back(controls) | probe.bits(controls)
        return found

    def report(self, seen: Mapping[str, Seen], subjects: Subjects) -> Evaluation:
        distance, sampler = self.copy_distance(seen), subjects.original.sampler.describe()
        timesteps = loss_timesteps(subjects.original.denoiser.schedule.num_timesteps)
        measured = {name: self._measured(own, distance, timesteps) for name, own in seen.items()}
        nearest = {name: _distances(own).min(1) for name, own in seen.items()}
        results = image_results(measured, self, distance, sampler)
        for number, rows in self._by_request():
            part = {n: self._measured(own, distance, timesteps, rows) for n, own in seen.items()}
            results += request_results(part, self, distance, sampler, number)
        return Evaluation(
            results=results,
            images=image_rows(measured, self.split),
            curves=[distance_curve(nearest, distance, f"{sampler}, for all models")],
            terms=self._terms(distance),
        )

    def _by_request(self) -> list[tuple[int, slice]]:
        """The number of each of several requests, from 1, and the rows of its images."""
        if len(self.counts) < 2:
            return []
        ends = list(itertools.accumulate(self.counts))
        return [(n, slice(end - self.counts[n - 1], end)) for n, end in enumerate(ends, start=1)]

    def _measured(
        self, seen: Seen, distance: float, timesteps: list[int], rows: slice = ALL
    ) -> Measured:
        """What was measured of the images to forget, or of some `rows` of them."""
        copies, by_image = count_copies(_distances(seen)[:, rows], distance)
        probed, labels = seen[PROBES], np.zeros(len(self.seeds), dtype=np.int64)
        unseen, controls = probed.get(UNSEEN), probed.get(CONTROLS)
        return Measured(
            observed={n: v.observations(seen[SAMPLES][n], labels) for n, v in self.views.items()},
            copies=copies,
            copies_by_image=by_image,
            timesteps=timesteps,
            losses=probed[FORGET]["losses"][rows],
            unseen_losses=None if unseen is None else unseen["losses"],
            similarity=probed[FORGET]["similarities"][rows],
            unseen_similarity=None if controls is None else controls["similarities"],
            bits=probed[FORGET]["bits"][rows],
            unseen_bits=None if controls is None else controls["bits"],
        )

    def _terms(self, distance: float) -> dict[str, str]:
        return {name: digest[:12] for name, digest in self.digests.items()} | {
            "copy distance": f"{distance:.6g}",
            "noise draws": str(self.own.draws),
            "unseen images at most": f"{self.own.unseen}, {self.own.controls} of them denoised",
            "steps of the likelihood": str(self.own.likelihood_steps),
        }

    def copy_distance(self, seen: Mapping[str, Seen]) -> float:
        original = torch.from_numpy(_distances(seen["baseline"]))
        return self._of_retained or copy_distance(original)

    @cached_property
    def _of_retained(self) -> float | None:
        return retained_distance(self.split)

    def write_sheets(
        self, folder: Path, seen: Mapping[str, Seen], subjects: Subjects, store: Store
    ) -> None:
        models = (subjects.original, subjects.result)
        looked = (seen["baseline"], seen["result"])
        copies = [_distances(own).min(1) < self.copy_distance(seen) for own in looked]
        order = comparison_order(copies)
        sheets = {
            name: self.shown(own, subject, order, store)
            for name, own, subject in zip(SHEETS, looked, models, strict=True)
        }
        write_comparison(folder, sheets, copies, order, models)
        back = [torch.from_numpy(own[PROBES][FORGET]["first"]).float() / 255 for own in looked]
        write_strips(folder, self.split.forget.images.float() / 255, back)

    def shown(self, seen: Seen, subject: Subject, rows: Sequence[int], store: Store) -> Tensor:
        """Samples `rows` of a model at eight bits, (len(rows), C, H, W) in [0, 1]."""
        if PIXELS in seen[SAMPLES]:
            return torch.from_numpy(seen[SAMPLES][PIXELS]["pixels"][list(rows)]).float() / 255
        samples = self.samples()[SAMPLES].drawn_from(subject, self.config.batch_size)
        return draw_kept(samples.only(rows), store, "samples to look at")


def _distances(seen: Seen) -> np.ndarray:
    """(N, K) of a model's samples to the images to forget."""
    return seen[SAMPLES][NEAR]["distances"]


def retained_distance(split: Split) -> float | None:
    """How near a copy is, by retained images, which the model may generate; None without any.

    Not by unseen images: those of the same kind can lie so near to an image that hardly a copy is
    nearer.
    """
    if split.retain is None:
        return None
    return calibrate_distance(split.forget.images, split.retain.images)


def comparison_order(copies: Sequence[np.ndarray]) -> list[int]:
    """Which samples are shown.

    Up to half of the places go to seeds at which either model copied an image (`copies`, a mask
    (N,) per model); the first of the others follow.
    """
    shown = COLUMNS * ROWS
    either = np.flatnonzero(copies[0] | copies[1])[: shown // 2].tolist()
    rest = [i for i in range(len(copies[0])) if i not in set(either)]
    return [*either, *rest][:shown]


def write_comparison(
    folder: Path,
    sheets: Mapping[str, Tensor],
    copies: Sequence[np.ndarray],
    order: Sequence[int],
    models: Models,
) -> None:
    """`before.png`, `after.png` and `grid.json`: samples `order` of both, (n, C, H, W)."""
    grid = {
        "kind": "images",
        "rows": -(-len(order) // COLUMNS),
        "columns": COLUMNS,
        "labels": [],
        "names": [],
        "forgotten": [],
        "copies_before": [n for n, i in enumerate(order) if copies[0][i]],
        "copies_after": [n for n, i in enumerate(order) if copies[1][i]],
    }
    write_sheets(folder, sheets, grid, models)


def write_strips(folder: Path, images: Tensor, back: Sequence[Tensor]) -> None:
    """`images.png`: the first images, and what every model makes of each noised and denoised.

    All (K, C, H, W) in [0, 1]. The first process writes.
    """
    if not PartialState().is_main_process:
        return
    rows = torch.stack([images, *back], 1)[:IMAGES]
    save_grid(rows.flatten(0, 1), 1 + len(back), folder / "images.png")
