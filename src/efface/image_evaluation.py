"""Evidence for requests to forget pictures: samples drawn once, every model by one protocol."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from efface.config import EvaluateConfig
from efface.data.split import copy_distance, pixel_hash
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.sampling import MultiStep, draw_images
from efface.image_runs import Pictures, to_model
from efface.image_sheets import write_comparison, write_strips
from efface.metrics.base import Metric, Observations
from efface.metrics.copy_rate import calibrate_distance, copy_rate
from efface.metrics.copy_similarity import (
    copy_similarity,
    normalised_similarity,
    pixels,
)
from efface.metrics.fid import FID
from efface.metrics.inception_score import InceptionScore
from efface.metrics.intervals import Estimate, mean
from efface.metrics.judge import Judge
from efface.metrics.membership_gap import (
    MembershipGap,
    denoising_losses,
    loss_timesteps,
    membership_gap,
)
from efface.metrics.nll import LikelihoodSettings, nll
from efface.metrics.precision import Precision
from efface.metrics.recall import Recall
from efface.progress import Bar
from efface.records import Evaluation, Picture, Result, Value

QUALITY: tuple[Metric, ...] = (InceptionScore(), FID(), Precision(), Recall())
BACK_AT = 0.25  # share of the schedule to which a picture is noised before it is denoised


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageSubjects:
    """The result, the untouched model and, where there is one, a model that never saw them."""

    result: Denoiser
    untouched: Denoiser
    retrained: Denoiser | None = None

    def named(self) -> dict[str, Denoiser]:
        subjects = {"result": self.result, "baseline": self.untouched}
        return subjects if self.retrained is None else subjects | {"retrained": self.retrained}


@dataclass(frozen=True, eq=False, kw_only=True)
class Seen:
    """All that was measured of one model."""

    observed: Observations | None
    copies: Estimate
    copies_by_picture: np.ndarray  # (K,)
    timesteps: list[int]  # (T,) at which losses were measured
    losses: np.ndarray  # (K, T) of the pictures to forget
    unseen_losses: np.ndarray | None  # (M, T)
    similarity: np.ndarray  # (K,)
    unseen_similarity: np.ndarray | None
    bits: np.ndarray  # (K,) per dimension
    unseen_bits: np.ndarray | None

    @property
    def gap(self) -> MembershipGap | None:
        if self.unseen_losses is None:
            return None
        return membership_gap(self.losses, self.unseen_losses, self.timesteps)


def evaluate_images(
    subjects: ImageSubjects,
    pictures: Pictures,
    config: EvaluateConfig,
    judge: Judge | None,
    folder: Path,
) -> Evaluation:
    """Measure all models by one protocol; writes the pictures of the report into `folder`."""
    samples = {name: _draw(denoiser, config) for name, denoiser in subjects.named().items()}
    distance = _distance(pictures, samples["baseline"])
    seen = {
        name: observe(denoiser, samples[name], pictures, distance, config, judge)
        for name, denoiser in subjects.named().items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    bank = to_model(pictures.forget.images)
    described = MultiStep(config.baseline_steps).describe()
    shown = (samples["baseline"], samples["result"])
    write_comparison(folder, *shown, pictures.forget.images, distance, described)
    models = (subjects.untouched, subjects.result)
    write_strips(folder, models, bank, int(BACK_AT * models[0].schedule.num_timesteps), config.seed)
    return Evaluation(
        results=_results(seen, pictures, distance, config, judge),
        judge=None if judge is None else judge.reported(),
        pictures=_rows(seen, pictures),
    )


def observe(
    denoiser: Denoiser,
    samples: Tensor,
    pictures: Pictures,
    distance: float,
    config: EvaluateConfig,
    judge: Judge | None,
) -> Seen:
    """Look at a model's samples, and at the pictures to forget and unseen ones in the same way."""
    observed = None if judge is None else judge.observe(samples, np.zeros(len(samples), dtype=int))
    copies, by_picture = copy_rate(samples, pictures.forget.images, distance)
    forget, unseen = to_model(pictures.forget.images), _unseen(pictures, config)
    controls = None if unseen is None else unseen[: config.controls]
    timesteps = loss_timesteps(denoiser.schedule.num_timesteps)
    at = int(BACK_AT * denoiser.schedule.num_timesteps)

    def losses(images: Tensor, draws: int) -> np.ndarray:
        return denoising_losses(denoiser, images, timesteps, draws, config.seed)

    def similarities(images: Tensor) -> np.ndarray:
        return copy_similarity(denoiser, images, pixels, at, config.draws, config.seed)

    def bits(images: Tensor) -> np.ndarray:
        tolerance = config.likelihood_tolerance
        settings = LikelihoodSettings(solver="rk45", rtol=tolerance, atol=tolerance)
        return nll(denoiser, images, settings, config.seed).bits_per_dim

    return Seen(
        observed=observed,
        copies=copies,
        copies_by_picture=by_picture,
        timesteps=timesteps,
        losses=losses(forget, config.draws),
        unseen_losses=None if unseen is None else losses(unseen, config.draws),
        similarity=similarities(forget),
        unseen_similarity=None if controls is None else similarities(controls),
        bits=bits(forget),
        unseen_bits=None if controls is None else bits(controls),
    )


def _draw(denoiser: Denoiser, config: EvaluateConfig) -> Tensor:
    seeds = range(config.seed, config.seed + config.samples)
    with Bar("sampling", config.samples, unit="images") as bar:
        sampler = MultiStep(config.baseline_steps)
        return draw_images(denoiser, sampler, None, seeds, config.batch_size, on_batch=bar.advance)


def _distance(pictures: Pictures, untouched: Tensor) -> float:
    """How near a copy is, from pictures that are none: unseen, retained, or the model's samples."""
    others = pictures.unseen or pictures.retain
    if others is not None:
        return calibrate_distance(pictures.forget.images, others.images)
    return copy_distance(pictures.forget.images, untouched)


def _unseen(pictures: Pictures, config: EvaluateConfig) -> Tensor | None:
    if pictures.unseen is None:
        return None
    images = pictures.unseen.images
    spread = torch.linspace(0, len(images) - 1, min(config.unseen, len(images))).long()
    # Shuffled, so that the first few are of all kinds.
    order = torch.randperm(len(spread), generator=torch.Generator().manual_seed(0))
    return to_model(images[spread[order]])


def _results(
    seen: dict[str, Seen],
    pictures: Pictures,
    distance: float,
    config: EvaluateConfig,
    judge: Judge | None,
) -> list[Result]:
    count = len(pictures.forget)
    first = [config.seed, config.seed + config.samples - 1]
    drawn = f"{config.baseline_steps} DDIM steps, guidance 1, for all models"
    results = [
        _result(
            "copy_rate",
            "share",
            False,
            {k: s.copies for k, s in seen.items()},
            samples=config.samples,
            seeds=first,
            protocol=f"{drawn}; a copy lies within {distance:.3g} (L2, pixels from 0 to 1)",
        )
    ]
    losses = {k: mean(s.losses.mean(1)) for k, s in seen.items()}
    similar = {k: mean(s.similarity) for k, s in seen.items()}
    ratios = {
        k: mean(normalised_similarity(s.similarity, s.unseen_similarity))
        for k, s in seen.items()
        if s.unseen_similarity is not None
    }
    bits = {k: mean(s.bits) for k, s in seen.items()}
    own = seen["result"]
    noise = f"10 noise levels, {config.draws} draws, the same noise for all pictures and models"
    common = {"samples": count, "seeds": [config.seed, config.seed]}
    gaps = {k: s.gap for k, s in seen.items()}
    if own.gap is not None:
        unseen = (
            f"{noise}; against {min(config.unseen, len(pictures.unseen or []))} unseen pictures"
        )
        present = {k: g for k, g in gaps.items() if g is not None}
        results += [
            _result("membership_gap", "relative", None, {k: g.gap for k, g in present.items()},
                    protocol=unseen, **common),
            _result("membership_auc", "probability", None, {k: g.auc for k, g in present.items()},
                    protocol=unseen, **common),
        ]  # fmt: skip
    results += [
        _result("forgotten_loss", "loss", None, losses, protocol=noise, **common,
                unseen=_mean(own.unseen_losses)),
        _result("copy_similarity", "cosine", None, similar, **common,
                unseen=_mean(own.unseen_similarity),
                protocol=f"noised to {BACK_AT:.0%} of the schedule and denoised, {config.draws} "
                "draws; correlation of pixels"),
        *([] if not ratios or np.isnan(ratios["result"].value) else [
            _result("normalised_similarity", "ratio", None, ratios, **common,
                    protocol="similarity over that of unseen pictures, by the same procedure")
        ]),
        _result("nll", "bits/dim", None, bits, **common, unseen=_mean(own.unseen_bits),
                protocol=f"probability-flow ODE, RK45 to {config.likelihood_tolerance:g}, 1 "
                "Rademacher vector, not dequantised"),
    ]  # fmt: skip
    if judge is not None:
        results += _quality(seen, judge, drawn, {"samples": config.samples, "seeds": first})
    return results


def _quality(
    seen: dict[str, Seen], judge: Judge, drawn: str, common: dict[str, Any]
) -> list[Result]:
    """How good the samples are, whatever they show."""
    results = []
    for metric in QUALITY:
        values = {
            name: metric.compute(model.observed, [], judge.reference)
            for name, model in seen.items()
            if model.observed is not None
        }
        protocol = f"{drawn}; judge: {judge.name}"
        if metric.needs_reference:
            protocol += f", features against {len(judge.reference)} real training images"
        results.append(
            _result(
                metric.name,
                metric.unit,
                metric.higher_is_better,
                values,
                protocol=protocol,
                **common,
            )
        )
    return results


def _result(
    name: str,
    unit: str,
    higher_is_better: bool | None,
    values: dict[str, Estimate],
    *,
    samples: int,
    seeds: list[int],
    protocol: str,
    unseen: Estimate | None = None,
) -> Result:
    own = values["result"]
    retrained = values.get("retrained")
    return Result(
        metric=name,
        value=own.value,
        low=own.low,
        high=own.high,
        unit=unit,
        higher_is_better=higher_is_better,
        samples=samples,
        seeds=seeds,
        protocol=protocol,
        baseline=_value(values["baseline"]),
        retrained=None if retrained is None else _value(retrained),
        unseen=None if unseen is None else _value(unseen),
    )


def _mean(values: np.ndarray | None) -> Estimate | None:
    if values is None:
        return None
    return mean(values.mean(1) if values.ndim == 2 else values)


def _value(estimate: Estimate) -> Value:
    return Value(value=estimate.value, low=estimate.low, high=estimate.high)


def _rows(seen: dict[str, Seen], pictures: Pictures) -> list[Picture]:
    own, before = seen["result"], seen["baseline"]
    return [
        Picture(
            name=name,
            sha256=pixel_hash(pictures.forget.images[i]),
            loss=float(own.losses[i].mean()),
            loss_baseline=float(before.losses[i].mean()),
            similarity=float(own.similarity[i]),
            similarity_baseline=float(before.similarity[i]),
            copies=int(own.copies_by_picture[i]),
            copies_baseline=int(before.copies_by_picture[i]),
        )
        for i, name in enumerate(pictures.forget.names)
    ]
