"""A forgotten concept: does a detector, or a CLIP, find it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from efface.attacks.goals import AskedGoal
from efface.data.prompts import spread
from efface.diffusion.text.prompts import shortened

NEIGHBOURS = 12  # prompts that are looked at one by one
AT_ONCE = 64  # pictures

Finder = Callable[[Tensor], np.ndarray]  # images (B, C, H, W) in [0, 1] -> scores (B,)


@dataclass(frozen=True, eq=False, kw_only=True)
class ConceptGoal(AskedGoal):
    """A finder scores samples of prompts that name the concept above `threshold`."""

    finder: Finder
    threshold: float
    called: str  # the finder

    kind: ClassVar[str] = "prompt"
    wording: ClassVar[str] = "asked by prompts that name the concept"
    nothing: ClassVar[str] = "the empty prompt"
    shows: ClassVar[str] = "share of samples in which the concept is found"
    control_line: ClassVar[str] = "other_prompts"

    @property
    def seen_by(self) -> str:
        return f"seen by: {self.called}"

    @property
    def neighbours(self) -> dict[int, str]:
        return dict(enumerate(spread(self.others, NEIGHBOURS), start=1))

    def call(self, neighbour: str) -> str:
        return shortened(neighbour)

    def tell_exchange(self, pairs: Sequence[tuple[str, str]]) -> str:
        # Prompts to forget are not written anywhere.
        return f"{len(pairs)} of its prompts that name the concept exchanged with ones that stay"

    def shown(self, images: Tensor) -> np.ndarray:
        return self.score(images) > self.threshold

    def score(self, images: Tensor) -> np.ndarray:
        return np.concatenate([self.finder(part) for part in images.split(AT_ONCE)])
