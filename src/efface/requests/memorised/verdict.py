"""Has a model memorised what a prompt asks for? Told by comparison with other prompts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

FALSE_ALARMS = 0.05  # share of prompts without a memorised picture that may be called memorised
LEAST_CONTROLS = 59  # fewer cannot show a p-value of FALSE_ALARMS / 3
LEAST_COPIES = 2  # a picture that no second one is like was not memorised
MEMORISED, NOT_MEMORISED = "memorised", "not distinguishable from other prompts"


@dataclass(frozen=True, kw_only=True)
class Detection:
    """What was found of a prompt before anything was changed."""

    verdict: str
    norm: float  # text-noise norm, mean over draws
    norm_p: float  # share of control prompts with so large a norm
    likeness: float  # mean similarity among pictures of the prompt
    likeness_p: float
    copies: int  # of the reference, among `samples` pictures of the prompt
    copies_p: float | None  # Fisher's test against control pictures; None: none was given
    samples: int
    controls: int  # control prompts
    control_norm: float  # their median
    threshold: float  # similarity from which a picture is a copy
    compared_by: str
    reference: str  # "the given picture", or "a picture of the prompt"

    @property
    def share(self) -> float:
        return self.copies / self.samples

    @property
    def is_memorised(self) -> bool:
        return self.verdict == MEMORISED

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Detection:
        return cls(**content)


def p_value(score: float, controls: np.ndarray) -> float:
    """Share of control scores (M,) that are as high, the scored one counted in."""
    return float(((controls >= score).sum() + 1) / (len(controls) + 1))


def copies_p_value(copies: int, samples: int, control_copies: int, control_samples: int) -> float:
    """Fisher's exact test that the prompt's pictures copy more often than control pictures."""
    total, found = samples + control_samples, copies + control_copies
    return float(stats.hypergeom.sf(copies - 1, total, found, samples))


def judge(p_values: list[float], copies: int) -> str:
    """Memorised where one signal stands out (Bonferroni) and pictures are copies of one another."""
    stands_out = len(p_values) * min(p_values) <= FALSE_ALARMS
    return MEMORISED if stands_out and copies >= LEAST_COPIES else NOT_MEMORISED
