"""Has a model memorised an image for a prompt? Decided by comparison with other prompts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

FALSE_ALARMS = 0.05  # share of prompts without a memorised image that may be called memorised
LEAST_COPIES = 2  # an image that no second one resembles was not memorised
MEMORISED, NOT_MEMORISED = "memorised", "not distinguishable from other prompts"


@dataclass(frozen=True, kw_only=True)
class Detection:
    """What was measured of a prompt before training."""

    verdict: str
    norm: float  # text-noise norm, mean over draws
    norm_p: float  # p-value of the norm among control prompts
    similarity: float  # mean similarity among samples of the prompt
    similarity_p: float
    copies: int  # of the reference, among `samples` samples of the prompt
    copies_p: float | None  # Fisher's test against control samples; None: no image was given
    samples: int
    controls: int  # control prompts
    control_norm: float  # their median
    threshold: float  # similarity from which an image is a copy
    compared_by: str
    reference: str  # "the given image", or "a sample of the prompt"

    @property
    def share(self) -> float:
        return self.copies / self.samples

    @property
    def is_memorised(self) -> bool:
        return self.verdict == MEMORISED


def p_value(score: float, controls: np.ndarray) -> float:
    """Share of control scores (M,) that are as high, the prompt's own counted in."""
    return float(((controls >= score).sum() + 1) / (len(controls) + 1))


def copies_p_value(copies: int, samples: int, control_copies: int, control_samples: int) -> float:
    """Fisher's exact test that the prompt's samples are copies more often than control samples."""
    total, found = samples + control_samples, copies + control_copies
    return float(stats.hypergeom.sf(copies - 1, total, found, samples))


def decide(p_values: list[float], copies: int) -> str:
    """Memorised where one signal stands out (Bonferroni) and samples are copies of one another."""
    stands_out = len(p_values) * min(p_values) <= FALSE_ALARMS
    return MEMORISED if stands_out and copies >= LEAST_COPIES else NOT_MEMORISED
