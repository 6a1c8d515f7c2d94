"""The figures of a request to forget pictures, from what was seen of every model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from efface.data.split import pixel_hash
from efface.evaluation.results import Figure, make_result, view_result
from efface.evaluation.views import View
from efface.metrics.base import Observations
from efface.metrics.copy_similarity import normalised_similarity
from efface.metrics.intervals import Estimate, mean
from efface.metrics.membership_gap import MembershipGap, membership_gap
from efface.records import Picture, Result
from efface.requests.images.feed import Pictures
from efface.requests.images.probe import BACK_AT
from efface.settings.reading import EvaluateConfig


@dataclass(frozen=True, eq=False, kw_only=True)
class Seen:
    """All that was measured of one model."""

    observed: dict[str, Observations]  # by view
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
    views: Mapping[str, View],
    sampled: str,
) -> list[Result]:
    """All figures; `sampled` says how samples of every model were drawn."""
    count = len(pictures.forget)
    first = [config.seed, config.seed + config.samples - 1]
    drawn = f"{sampled}, for all models"
    results = [
        make_result(
            Figure("copy_rate", "share", higher_is_better=False),
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
            make_result(figure, values, protocol=unseen, **common)
            for figure, values in (
                (Figure("membership_gap", "relative"), {k: g.gap for k, g in present.items()}),
                (Figure("membership_auc", "probability"), {k: g.auc for k, g in present.items()}),
            )
        ]
    results += [
        make_result(Figure("forgotten_loss", "loss"), losses, protocol=noise, **common,
                unseen=_mean(own.unseen_losses)),
        make_result(Figure("copy_similarity", "cosine"), similar, **common,
                unseen=_mean(own.unseen_similarity),
                protocol=f"noised to {BACK_AT:.0%} of the schedule and denoised, {config.draws} "
                "draws; correlation of pixels"),
        *([] if not ratios or np.isnan(ratios["result"].value) else [
            make_result(Figure("normalised_similarity", "ratio"), ratios, **common,
                    protocol="similarity over that of unseen pictures, by the same procedure")
        ]),
        make_result(Figure("nll", "bits/dim"), bits, **common, unseen=_mean(own.unseen_bits),
                protocol=f"probability-flow ODE, RK45 to {config.likelihood_tolerance:g}, 1 "
                "Rademacher vector, not dequantised"),
    ]  # fmt: skip
    return [*results, *_quality(seen, views, config, drawn)]


def _quality(
    seen: dict[str, Seen], views: Mapping[str, View], config: EvaluateConfig, drawn: str
) -> list[Result]:
    """How good the samples are, whatever they show."""
    seeds = range(config.seed, config.seed + config.samples)
    return [
        view_result(view, metric, {k: s.observed[name] for k, s in seen.items()}, (), seeds, drawn)
        for name, view in views.items()
        for metric in view.metrics(labelled=False)
    ]


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
