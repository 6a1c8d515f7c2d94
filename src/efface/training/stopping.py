"""When to stop: the pictures to forget are predicted no better than pictures never seen."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from efface.diffusion.denoiser import Denoiser

UNSEEN = 64  # pictures at most

Loss = Callable[[Denoiser, Tensor], float]  # mean denoising loss of images, the same noise always


class UnseenStopper:
    """Compares the denoising loss of pictures to forget with that of pictures never seen.

    Nothing is remembered: a resumed run stops where an uninterrupted one does. More forgetting
    than "never seen" is not better.
    """

    def __init__(self, loss: Loss, forget: Tensor, unseen: Tensor) -> None:
        spread = torch.linspace(0, len(unseen) - 1, min(UNSEEN, len(unseen))).long()
        self._loss, self._forget = loss, forget
        self._unseen = unseen[spread.to(unseen.device)]

    def check(self, student: Denoiser) -> str | None:
        """A sentence if the run should stop."""
        forget, unseen = self._loss(student, self._forget), self._loss(student, self._unseen)
        if forget < unseen:
            return None
        return (
            f"the pictures to forget are predicted no better than pictures never seen (loss "
            f"{forget:.4g} against {unseen:.4g})"
        )
