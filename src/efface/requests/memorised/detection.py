"""Compare a prompt with control prompts, and decide which image is the memorised one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from efface.diffusion.denoiser import Condition
from efface.requests.memorised.sampling import PromptSampler, seeds_for, to_unit
from efface.requests.memorised.settings import MemorisedSettings
from efface.requests.memorised.similarity import (
    Comparison,
    CopyDetector,
    copy_threshold,
    mean_similarity,
    mode,
)
from efface.requests.memorised.text_noise import text_noise_norms
from efface.requests.memorised.verdict import Detection, copies_p_value, decide, p_value


@dataclass(frozen=True, eq=False, kw_only=True)
class Detected:
    """The finding, the memorised image (C, H, W) in [0, 1], and what was sampled for it, uint8."""

    detection: Detection
    reference: Tensor
    samples: Tensor  # of the prompt
    controls: Tensor  # `control_images` of each control prompt


def detect(
    sampler: PromptSampler,
    prompt: Condition,
    controls: Condition,
    image: Tensor | None,
    comparison: Comparison,
    settings: MemorisedSettings,
) -> Detected:
    """Measure a prompt (one row) and control prompts (P rows).

    The memorised image is the one given (C, H, W) in [0, 1], else the sample of the prompt that
    the others are most similar to.
    """
    seed, count, each = settings.seed, len(controls), settings.control_images
    own = sampler.sample_one(prompt, seeds_for(seed, "prompt", settings.samples), "the prompt")
    rows = controls[torch.arange(count).repeat_interleave(each)]
    others = sampler.sample(rows, seeds_for(seed, "controls", count * each), "control prompts")
    own_units = comparison.unit_features(to_unit(own))
    other_units = comparison.unit_features(to_unit(others))
    reference = image if image is not None else to_unit(own[mode(own_units)])
    detector = CopyDetector(reference=reference, threshold=1.0, comparison=comparison)
    control_similarity = detector.similarity(to_unit(others))
    threshold = settings.copy_similarity
    if threshold is None:
        threshold = copy_threshold(control_similarity)
    copies = int((detector.similarity(to_unit(own)) >= threshold).sum())
    draws = seeds_for(seed, "norms", settings.noises)
    both = Condition.cat([prompt, controls])
    norms = text_noise_norms(sampler.denoiser, both, draws).mean(1)
    control_means = np.array([mean_similarity(units) for units in other_units.split(each)])
    own_mean = mean_similarity(own_units[:each])  # as many samples as of each control prompt
    p_values = [p_value(norms[0], norms[1:]), p_value(own_mean, control_means)]
    copies_p = None
    if image is not None:
        found = int((control_similarity >= threshold).sum())
        copies_p = copies_p_value(copies, len(own), found, len(others))
    detection = Detection(
        verdict=decide([*p_values, copies_p] if copies_p is not None else p_values, copies),
        norm=float(norms[0]),
        norm_p=p_values[0],
        similarity=own_mean,
        similarity_p=p_values[1],
        copies=copies,
        copies_p=copies_p,
        samples=len(own),
        controls=count,
        control_norm=float(np.median(norms[1:])),
        threshold=float(threshold),
        compared_by=comparison.name,
        reference="a sample of the prompt" if image is None else "the given image",
    )
    return Detected(detection=detection, reference=reference, samples=own, controls=others)
