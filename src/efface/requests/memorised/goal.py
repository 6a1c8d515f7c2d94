"""A memorised picture: does the prompt, or what an attacker makes of the model, draw copies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from efface.attacks.goals import EXAMPLE_SEED, Examples
from efface.diffusion.denoiser import Denoiser
from efface.requests.concept.goal import ConceptGoal


@dataclass(frozen=True, eq=False, kw_only=True)
class MemorisedGoal(ConceptGoal):
    """The finder is the likeness to the memorised picture, from `threshold` on a copy.

    `sought` is the prompt that the picture was memorised for, `others` are control prompts.
    """

    picture: Tensor  # (C, H, W) in [0, 1]

    wording: ClassVar[str] = "asked by the prompt that the picture was memorised for"
    shows: ClassVar[str] = "share of samples that copy the picture"

    def shown(self, images: Tensor) -> np.ndarray:
        return self.score(images) >= self.threshold

    def originals(self, untouched: Denoiser, count: int, seed: int) -> Examples:
        """The memorised picture itself, one however many are wanted."""
        del count
        generator = torch.Generator().manual_seed(EXAMPLE_SEED + seed)
        image = self.picture[None].to(untouched.device) * 2 - 1
        return Examples(x0=untouched.codec.encode(image, generator), asked=self.sought[:1])

    def tell_exchange(self, pairs: Sequence[tuple[str, str]]) -> str:
        return f"its prompt exchanged with {len(pairs)} that stays"
