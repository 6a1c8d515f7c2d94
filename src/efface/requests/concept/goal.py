"""A forgotten concept: does a detector, or a CLIP, find it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from efface.attacks.goals import ConditionGoal

AT_ONCE = 64  # images


@dataclass(frozen=True, eq=False, kw_only=True)
class ConceptGoal(ConditionGoal):
    """A finder scores samples of prompts that name the concept above `threshold`."""

    finder: Callable[[Tensor], np.ndarray]  # images (B, C, H, W) in [0, 1] -> scores (B,)
    threshold: float
    called: str  # the finder

    kind: ClassVar[str] = "prompt"
    wording: ClassVar[str] = "prompted with what names the concept"
    null: ClassVar[str] = "the empty prompt"
    y_label: ClassVar[str] = "share of samples in which the concept is found"
    control_line: ClassVar[str] = "other_prompts"

    @property
    def measured_with(self) -> str:
        return f"measured with: {self.called}"

    def describe_exchange(self, pairs: Sequence[tuple[str, str]]) -> str:
        # Forget prompts are not written anywhere.
        return f"{len(pairs)} prompts that name the concept exchanged with retained ones"

    def shown(self, images: Tensor) -> np.ndarray:
        return self.score(images) > self.threshold

    def score(self, images: Tensor) -> np.ndarray:
        return np.concatenate([self.finder(part) for part in images.split(AT_ONCE)])
