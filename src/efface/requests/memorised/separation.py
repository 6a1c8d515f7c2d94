"""Separate a prompt's own samples into copies of the memorised image and all others."""

from dataclasses import dataclass

import numpy as np
import torch
from pydantic import ConfigDict
from torch import Tensor

from efface.errors import DataError
from efface.requests.memorised.sampling import PromptSampler, to_unit
from efface.requests.memorised.settings import MemorisedSettings
from efface.requests.memorised.similarity import CopyDetector

LEAST_SHARE, MOST_SHARE = 0.05, 0.95  # of copies; beyond, one side is too small to learn from


@dataclass(frozen=True, eq=False, kw_only=True)
class Sides:
    """Images (N, C, H, W) uint8 to learn from.

    Some are on neither side: learning to generate near-copies would retain what is to be forgotten.
    """

    __pydantic_config__ = ConfigDict(arbitrary_types_allowed=True)

    forget: Tensor
    retain: Tensor
    undecided: int


def separate(
    sampler: PromptSampler, detector: CopyDetector, settings: MemorisedSettings, prompt: str
) -> Sides:
    """Sample a partly memorised prompt and separate its images."""
    return split(sampler.sample([prompt], settings.images, "synthetic"), detector, settings)


def split(images: Tensor, detector: CopyDetector, settings: MemorisedSettings) -> Sides:
    """Separate images (N, C, H, W) uint8; DataError where one side has next to nothing.

    Of those that are no copies the share `undecided` that is most similar to the memorised image is
    on neither side.
    """
    similarity = detector.similarity(to_unit(images))
    copies = similarity >= detector.threshold
    others = np.flatnonzero(~copies)
    left_out = int(settings.undecided * len(others))
    farthest = others[np.argsort(similarity[others], kind="stable")][: len(others) - left_out]
    forget, retain = images[torch.from_numpy(copies)], images[np.sort(farthest)]
    count, total, least = len(forget), len(images), settings.least_rows
    if min(count, len(retain)) < least or not LEAST_SHARE <= count / total <= MOST_SHARE:
        raise DataError(
            f"{count} of {total} samples count as copies, which leaves one side too small to "
            f"learn from (at least {least}, and {LEAST_SHARE:.0%} of all): give another "
            "--modified-prompt, raise memorised.images, or set memorised.copy_similarity."
        )
    return Sides(
        forget=forget,
        retain=retain,
        undecided=left_out,
    )
