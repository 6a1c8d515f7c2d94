"""The figures of a request to forget images, from what was seen of every model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from efface.data.split import Split, pixel_hash
from efface.evaluation.protocol import make_result, view_result
from efface.metrics.base import Observations
from efface.metrics.copy_similarity import normalised_similarity
from efface.metrics.intervals import Estimate, mean
from efface.metrics.membership_gap import MembershipGap, membership_gap
from efface.records import ForgottenImage, Margin, Result, Spec
from efface.requests.images.probe import BACK_AT

if TYPE_CHECKING:
    from efface.requests.images.protocol import ImageProtocol

COPY_RATE = Spec(
    name="copy_rate",
    label="Copy rate",
    meaning="samples that are copies of a forgotten image",
    unit="share",
    side="forget",
    better="less",
    role="primary",
    margin=Margin(value=0.01),
    event="copies of {them} appeared in",
    caveat="A copy is a sample within a set distance of a forgotten image or its mirror image; a "
    "looser similarity does not count.",
)
GAP = Spec(
    name="membership_gap",
    label="Membership gap",
    meaning="how far the denoising loss lies below that of unseen images: 0 as if never seen, "
    "above 0 still known, below 0 overshot, which is not better",
    unit="share of loss",
    side="forget",
    better="zero",
    role="primary",
    margin=Margin(value=0.05),
    caveat="More forgetting than never seen is not better: a model that does worse on an image "
    "than on unseen ones shows that it was made to.",
)
AUC = Spec(
    name="membership_auc",
    label="Membership test",
    meaning="chance that the loss tells a forgotten image from an unseen one: 0.5 is a coin toss",
    unit="probability",
    side="forget",
)
LOSS = Spec(
    name="forgotten_loss",
    label="Denoising loss",
    meaning="of the forgotten images: low where they are known",
    unit="loss",
    side="forget",
)
SIMILARITY = Spec(
    name="copy_similarity",
    label="Similarity",
    meaning="how much of a forgotten image comes back after noise: 1 is all of it, and less than "
    "for unseen images is not better",
    unit="cosine",
    side="forget",
)
RELATIVE_SIMILARITY = Spec(
    name="normalised_similarity",
    label="Relative similarity",
    meaning="similarity over that of unseen images: 1 as if never seen",
    unit="ratio",
    side="forget",
)
NLL = Spec(
    name="nll",
    label="Negative log likelihood",
    meaning="of the forgotten images: low where they are known",
    unit="bits/dim",
    side="forget",
)


@dataclass(frozen=True, eq=False, kw_only=True)
class Measured:
    """All that was measured of one model."""

    observed: dict[str, Observations]  # by view
    copies: Estimate
    copies_by_image: np.ndarray  # (K,)
    timesteps: list[int]  # (T,) at which losses were measured
    losses: np.ndarray  # (K, T) of the images to forget
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
    seen: Mapping[str, Measured], protocol: ImageProtocol, distance: float, sampler: str
) -> list[Result]:
    """All figures; `sampler` says how samples of every model were generated."""
    sampled = f"{sampler}, for all models"
    return [
        _copies(seen, protocol, distance, sampled),
        *_membership(seen, protocol),
        *_reconstruction(seen, protocol),
        *_quality(seen, protocol, sampled),
    ]


def request_results(
    seen: Mapping[str, Measured],
    protocol: ImageProtocol,
    distance: float,
    sampler: str,
    number: int,
) -> list[Result]:
    """What decides whether the images of one of several requests are forgotten."""
    images = len(seen["result"].losses)
    found = [_copies(seen, protocol, distance, f"{sampler}, for all models")]
    gaps = [one for one in _membership(seen, protocol) if one.spec.role == "primary"]
    found += [one.model_copy(update={"samples": images}) for one in gaps]
    named = (number, f"request {number}", f"what request {number} named")
    return [one.model_copy(update={"spec": one.spec.about(*named, decides=True)}) for one in found]


def _copies(
    seen: Mapping[str, Measured], protocol: ImageProtocol, distance: float, sampled: str
) -> Result:
    return make_result(
        COPY_RATE,
        {name: model.copies for name, model in seen.items()},
        protocol.seeds,
        protocol=f"{sampled}; a copy, mirrored or not, lies within {distance:.3g} "
        "(L2, pixels from 0 to 1)",
    )


def _figure(
    spec: Spec,
    values: Mapping[str, Estimate],
    protocol: ImageProtocol,
    text: str,
    unseen: np.ndarray | None = None,
) -> Result:
    """A figure of the given images, beside its mean over unseen ones where they were measured."""
    return make_result(
        spec,
        values,
        range(protocol.config.seed, protocol.config.seed + 1),
        samples=len(protocol.split.forget),
        protocol=text,
        unseen=None if unseen is None else mean(unseen),
    )


def _noise(protocol: ImageProtocol) -> str:
    return f"10 noise levels, {protocol.own.draws} draws, the same noise for all images and models"


def _membership(seen: Mapping[str, Measured], protocol: ImageProtocol) -> list[Result]:
    """How well the loss tells forgotten images from unseen ones, where there are any."""
    gaps = {name: gap for name, model in seen.items() if (gap := model.gap) is not None}
    if not gaps:
        return []
    unseen = min(protocol.own.unseen, len(protocol.unseen or []))
    text = f"{_noise(protocol)}; against {unseen} unseen images"
    return [
        _figure(GAP, {name: gap.gap for name, gap in gaps.items()}, protocol, text),
        _figure(AUC, {name: gap.auc for name, gap in gaps.items()}, protocol, text),
    ]


def _reconstruction(seen: Mapping[str, Measured], protocol: ImageProtocol) -> list[Result]:
    """Loss, similarity to the denoised image, and likelihood of the images to forget."""
    own, losses = seen["result"], {name: mean(m.losses.mean(1)) for name, m in seen.items()}
    unseen = None if own.unseen_losses is None else own.unseen_losses.mean(1)
    results = [_figure(LOSS, losses, protocol, _noise(protocol), unseen)]
    similarity = {name: mean(model.similarity) for name, model in seen.items()}
    text = (
        f"noised to {BACK_AT:.0%} of the schedule and denoised, {protocol.own.draws} draws; "
        "correlation of pixels"
    )
    results.append(_figure(SIMILARITY, similarity, protocol, text, own.unseen_similarity))
    ratios = {
        name: mean(normalised_similarity(model.similarity, model.unseen_similarity))
        for name, model in seen.items()
        if model.unseen_similarity is not None
    }
    if ratios and not np.isnan(ratios["result"].value):
        text = "similarity over that of unseen images, by the same procedure"
        results.append(_figure(RELATIVE_SIMILARITY, ratios, protocol, text))
    text = (
        f"probability-flow ODE, {protocol.own.likelihood_steps} steps of Heun's method, "
        "1 Rademacher vector, not dequantised"
    )
    bits = {name: mean(model.bits) for name, model in seen.items()}
    return [*results, _figure(NLL, bits, protocol, text, own.unseen_bits)]


def _quality(seen: Mapping[str, Measured], protocol: ImageProtocol, sampled: str) -> list[Result]:
    """How good the samples are, whatever they show."""
    return [
        view_result(
            view,
            metric,
            {model: one.observed[name] for model, one in seen.items()},
            (),
            protocol.seeds,
            sampled,
        )
        for name, view in protocol.views.items()
        for metric in view.metrics(labelled=False)
    ]


def image_rows(seen: Mapping[str, Measured], split: Split) -> list[ForgottenImage]:
    """One row per image to forget, before and after."""
    own, before = seen["result"], seen["baseline"]
    return [
        ForgottenImage(
            name=name,
            sha256=pixel_hash(split.forget.images[i]),
            loss=float(own.losses[i].mean()),
            loss_baseline=float(before.losses[i].mean()),
            similarity=float(own.similarity[i]),
            similarity_baseline=float(before.similarity[i]),
            copies=int(own.copies_by_image[i]),
            copies_baseline=int(before.copies_by_image[i]),
        )
        for i, name in enumerate(split.forget.names)
    ]
