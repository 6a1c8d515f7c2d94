"""Is an image memorised for a prompt, and which one? Decided by comparison with control prompts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydantic import ConfigDict
from scipy import stats
from torch import Tensor

from efface.errors import RequestError
from efface.requests.memorised.sampling import PromptSampler, to_unit
from efface.requests.memorised.settings import MemorisedSettings
from efface.requests.memorised.similarity import (
    Comparison,
    CopyDetector,
    copy_threshold,
    mean_similarity,
    mode,
)

FALSE_ALARMS = 0.05  # share of prompts without a memorised image that may be called memorised
LEAST_COPIES = 2  # an image that no second one resembles was not memorised


@dataclass(frozen=True, eq=False, kw_only=True)
class Detection:
    """What was found of a prompt before training, and the images that show it (uint8)."""

    __pydantic_config__ = ConfigDict(arbitrary_types_allowed=True)

    is_memorised: bool  # one signal stands out, and samples are copies of one another
    norm: float  # text-noise norm, mean over draws
    norm_p: float  # p-value of the norm among control prompts
    similarity: float  # mean similarity among samples of the prompt
    similarity_p: float
    copies: int  # of the reference, among `samples` samples of the prompt
    copies_p: float | None  # Fisher's test against control samples; None: no image was given
    samples: int
    controls: int  # control prompts
    threshold: float  # similarity from which an image is a copy
    compared_by: str
    reference: Tensor  # the memorised image, given or a sample of the prompt: [0, 1], (C, H, W)
    prompt_images: Tensor
    control_images: Tensor  # as many of each control prompt

    def sheet(self) -> Tensor:
        """The memorised image, then samples of the prompt: (N, C, H, W) uint8."""
        return torch.cat([(self.reference[None] * 255).round().byte(), self.prompt_images])


def detect(
    sampler: PromptSampler,
    prompt: str,
    controls: Sequence[str],
    image: Tensor | None,
    comparison: Comparison,
    settings: MemorisedSettings,
) -> Detection:
    """Measure a prompt and control prompts.

    The memorised image is the one given (C, H, W) in [0, 1], else the sample of the prompt that
    the others are most similar to.
    """
    each = settings.control_images
    own = sampler.sample([prompt], settings.samples, "prompt")
    others = sampler.sample(controls, each, "controls")
    own_units = comparison.unit_features(to_unit(own))
    other_units = comparison.unit_features(to_unit(others))
    reference = image if image is not None else to_unit(own[mode(own_units)])
    detector = CopyDetector(reference=reference, threshold=1.0, comparison=comparison)
    control_similarity = detector.similarity(to_unit(others))
    threshold = settings.copy_similarity
    if threshold is None:
        threshold = copy_threshold(control_similarity)
    copies = int((detector.similarity(to_unit(own)) >= threshold).sum())
    norms = sampler.norms([prompt, *controls], settings.noises)
    control_means = np.array([mean_similarity(units) for units in other_units.split(each)])
    own_mean = mean_similarity(own_units[:each])  # as many samples as of each control prompt
    p_values = [p_value(norms[0], norms[1:]), p_value(own_mean, control_means)]
    copies_p = None
    if image is not None:
        among_controls = int((control_similarity >= threshold).sum())
        counts = [(copies, len(own) - copies), (among_controls, len(others) - among_controls)]
        outcome: Any = stats.fisher_exact(counts, alternative="greater")
        copies_p = float(outcome.pvalue)
        p_values.append(copies_p)
    return Detection(
        is_memorised=stands_out(p_values) and copies >= LEAST_COPIES,
        norm=float(norms[0]),
        norm_p=p_values[0],
        similarity=own_mean,
        similarity_p=p_values[1],
        copies=copies,
        copies_p=copies_p,
        samples=len(own),
        controls=len(controls),
        threshold=float(threshold),
        compared_by=comparison.name,
        reference=reference,
        prompt_images=own,
        control_images=others,
    )


def p_value(score: float, controls: np.ndarray) -> float:
    """Share of control scores (M,) that are as high, the prompt's own counted in."""
    return float(((controls >= score).sum() + 1) / (len(controls) + 1))


def stands_out(p_values: Sequence[float]) -> bool:
    """Whether one of several signals does (Bonferroni)."""
    return len(p_values) * min(p_values) <= FALSE_ALARMS


def require_memorised(detection: Detection, prompt: str) -> None:
    """Raise RequestError where nothing is there to forget."""
    if detection.is_memorised:
        return
    raise RequestError(
        f"nothing memorised was found for {prompt!r}: {detection.copies} of {detection.samples} "
        f"samples are copies, its text-noise norm is {detection.norm:.3g} (p = "
        f"{detection.norm_p:.2g} among {detection.controls} control prompts) and the similarity of "
        f"its samples {detection.similarity:.2g} (p = {detection.similarity_p:.2g}); there is "
        "nothing to forget, or set memorised.force=true to go on."
    )


def detector_of(detection: Detection, comparison: Comparison) -> CopyDetector:
    """What distinguishes copies; RequestError for another comparison than the threshold is for."""
    if not comparison.matches(detection.compared_by):
        raise RequestError(
            f"the threshold of a copy was set for {detection.compared_by} in preparation, and "
            f"memorised.extractor gives {comparison.name}: leave it as it was, or run again."
        )
    return CopyDetector(
        reference=detection.reference, threshold=detection.threshold, comparison=comparison
    )
