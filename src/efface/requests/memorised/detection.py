"""Compare a prompt with control prompts, and settle which picture is the memorised one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from efface.diffusion.denoiser import Condition
from efface.metrics.copy_similarity import Features
from efface.requests.memorised.sampling import Drawing, seeds_for, to_unit
from efface.requests.memorised.settings import MemorisedConfig
from efface.requests.memorised.similarity import (
    CopyDetector,
    copy_threshold,
    likeness,
    mode,
    unit_features,
)
from efface.requests.memorised.text_noise import text_noise_norms
from efface.requests.memorised.verdict import Detection, copies_p_value, judge, p_value


@dataclass(frozen=True, eq=False, kw_only=True)
class Detected:
    """The finding, the memorised picture (C, H, W) in [0, 1], and pictures drawn for it, uint8."""

    detection: Detection
    reference: Tensor
    pictures: Tensor  # of the prompt
    controls: Tensor | None  # `control_images` of each control prompt; None: not kept


def detect(
    drawing: Drawing,
    asked: Condition,
    controls: Condition,
    picture: Tensor | None,
    features: tuple[Features, str],
    config: MemorisedConfig,
) -> Detected:
    """Measure a prompt (one row) beside control prompts (P rows).

    The memorised picture is the one given (C, H, W) in [0, 1], else the sample of the prompt that
    the others are most alike to.
    """
    see, name = features
    count, each = len(controls), config.control_images
    own = drawing.of(asked, seeds_for(config.seed, "prompt", config.samples), "the prompt")
    rows = controls[torch.arange(count).repeat_interleave(each)]
    others = drawing(rows, seeds_for(config.seed, "controls", count * each), "control prompts")
    own_units, other_units = unit_features(see, to_unit(own)), unit_features(see, to_unit(others))
    reference = picture if picture is not None else to_unit(own[mode(own_units)])
    detector = CopyDetector(reference=reference, threshold=1.0, features=see)
    control_similarity = detector.similarity(to_unit(others))
    threshold = config.copy_similarity
    if threshold is None:
        threshold = copy_threshold(control_similarity)
    copies = int((detector.similarity(to_unit(own)) >= threshold).sum())
    draws = seeds_for(config.seed, "norms", config.noises)
    norms = text_noise_norms(drawing.denoiser, Condition.cat([asked, controls]), draws).mean(1)
    alike = np.array([likeness(units) for units in other_units.split(each)])
    beside = likeness(own_units[:each])  # as many pictures as of each control prompt
    ps = [p_value(norms[0], norms[1:]), p_value(beside, alike)]
    copies_p = None
    if picture is not None:
        found = int((control_similarity >= threshold).sum())
        copies_p = copies_p_value(copies, len(own), found, len(others))
    detection = Detection(
        verdict=judge([*ps, copies_p] if copies_p is not None else ps, copies),
        norm=float(norms[0]),
        norm_p=ps[0],
        likeness=beside,
        likeness_p=ps[1],
        copies=copies,
        copies_p=copies_p,
        samples=len(own),
        controls=count,
        control_norm=float(np.median(norms[1:])),
        threshold=float(threshold),
        compared_by=name,
        reference="a picture of the prompt" if picture is None else "the given picture",
    )
    return Detected(detection=detection, reference=reference, pictures=own, controls=others)
