"""When to stop: enough is forgotten, as the images are predicted no better than unseen ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from efface.diffusion.denoiser import Denoiser


class Stopper(Protocol):
    """Measures the averaged student every `train.stop_every` steps, and before the first."""

    def check(self, student: Denoiser) -> str | None:
        """A sentence if the run should stop."""
        ...


@dataclass(frozen=True)
class Measure:
    """How well images are predicted: lower is better."""

    name: str
    of: Callable[[Denoiser, Tensor], float]  # mean over images in model space, on one noise
    images: int  # unseen ones, at most


class UnseenStopper:
    """Compares how well the images to forget are predicted with unseen images.

    Of several sets to forget, the one that is predicted best. Nothing is remembered: a resumed run
    stops where an uninterrupted one does. More forgetting than of unseen images is not better.
    """

    def __init__(self, measure: Measure, forget: Sequence[Tensor], unseen: Tensor) -> None:
        spread = torch.linspace(0, len(unseen) - 1, min(measure.images, len(unseen))).long()
        self._measure, self._forget = measure, forget
        self._unseen = unseen[spread.to(unseen.device)]

    def check(self, student: Denoiser) -> str | None:
        """A sentence if the run should stop."""
        forget = min(self._measure.of(student, images) for images in self._forget)
        unseen = self._measure.of(student, self._unseen)
        if forget < unseen:
            return None
        return (
            "the images to forget are predicted no better than unseen images "
            f"({self._measure.name} {forget:.4g} against {unseen:.4g})"
        )
