"""A memorised image: does its prompt, or an attacked model, still generate copies of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from efface.attacks.goals import REAL, Examples, encode
from efface.diffusion.denoiser import Denoiser
from efface.requests.concept.goal import ConceptGoal


@dataclass(frozen=True, eq=False, kw_only=True)
class MemorisedGoal(ConceptGoal):
    """The finder is the similarity to the memorised image, from `threshold` on a copy.

    `sought` is the prompt that the image was memorised for, `others` are control prompts.
    """

    image: Tensor  # (C, H, W) in [0, 1]

    wording: ClassVar[str] = "conditioned on the prompt that the image was memorised for"
    y_label: ClassVar[str] = "share of samples that are copies of the image"

    @property
    def noised(self) -> str:
        return REAL

    def shown(self, images: Tensor) -> np.ndarray:
        return self.score(images) >= self.threshold

    def originals(self, original: Denoiser, count: int, seed: int) -> Examples:
        """The memorised image itself, one whatever the count."""
        x0 = encode(original, self.image[None] * 2 - 1, seed)
        return Examples(x0=x0, conditions=self.sought[:1])

    def describe_exchange(self, pairs: Sequence[tuple[str, str]]) -> str:
        return f"its prompt exchanged with {len(pairs)} retained prompt"
