"""The figures of a request to forget pictures, from what was seen of every model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from efface.config import EvaluateConfig
from efface.data.split import pixel_hash
from efface.evaluation.classes import as_value
from efface.evaluation.probe import BACK_AT
from efface.image_runs import Pictures
from efface.metrics.base import Metric, Observations
from efface.metrics.copy_similarity import normalised_similarity
from efface.metrics.fid import FID
from efface.metrics.inception_score import InceptionScore
from efface.metrics.intervals import Estimate, mean
from efface.metrics.judge import Judge
from efface.metrics.membership_gap import MembershipGap, membership_gap
from efface.metrics.precision import Precision
from efface.metrics.recall import Recall
from efface.records import Picture, Result

QUALITY: tuple[Metric, ...] = (InceptionScore(), FID(), Precision(), Recall())


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


def image_results(
    seen: dict[str, Seen],
    pictures: Pictures,
    distance: float,
    config: EvaluateConfig,
    judge: Judge | None,
    sampled: str,
) -> list[Result]:
    """All figures; `sampled` says how samples of every model were drawn."""
    count = len(pictures.forget)
    first = [config.seed, config.seed + config.samples - 1]
    drawn = f"{sampled}, for all models"
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
        baseline=as_value(values["baseline"]),
        retrained=None if retrained is None else as_value(retrained),
        unseen=None if unseen is None else as_value(unseen),
    )


def _mean(values: np.ndarray | None) -> Estimate | None:
    if values is None:
        return None
    return mean(values.mean(1) if values.ndim == 2 else values)


def picture_rows(seen: dict[str, Seen], pictures: Pictures) -> list[Picture]:
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
