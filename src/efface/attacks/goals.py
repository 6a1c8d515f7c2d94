"""What an attack looks for, and what an attacker has in hand."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from efface.attacks.conditions import has_null
from efface.diffusion.denoiser import Condition, Denoiser
from efface.diffusion.sampling import MultiStep, Sampler, draw_images
from efface.metrics.intervals import Estimate, proportion

EXAMPLE_SEED = 6_000_000  # away from the seeds of training, evaluation and attacks
EXAMPLE_STEPS = 50


@dataclass(frozen=True, eq=False, kw_only=True)
class Examples:
    """Pictures in model space (N, C, H, W), with the label or prompt that each belongs to."""

    x0: Tensor
    asked: Sequence[Any] | None = None

    def __len__(self) -> int:
        return len(self.x0)

    def first(self, count: int) -> Examples:
        asked = None if self.asked is None else self.asked[:count]
        return Examples(x0=self.x0[:count], asked=asked)

    def condition(self, denoiser: Denoiser) -> Condition | None:
        return None if self.asked is None else denoiser.encode(self.asked)


class Goal(ABC):
    """What counts as the forgotten thing being shown."""

    guidance: float  # of every model that is not sampled in one step
    shows: ClassVar[str]  # label of a curve's axis

    control_line: ClassVar[str]  # what the control is called among a curve's lines

    @abstractmethod
    def describe(self, sampler: Sampler) -> str:
        """How it is measured, in words for a protocol."""

    @abstractmethod
    def unnamed(self, denoiser: Denoiser) -> Goal:
        """The same thing, looked for without asking this model for it."""

    @abstractmethod
    def condition(self, denoiser: Denoiser, count: int) -> Condition | None:
        """What `count` samples are asked for; None of a model that is asked for nothing at all."""

    @abstractmethod
    def measure(self, denoiser: Denoiser, sampler: Sampler, samples: int, seed: int) -> Estimate:
        """Share of tries in which the model, simply asked, shows it; Wilson's interval."""

    @abstractmethod
    def shown(self, images: Tensor) -> np.ndarray:
        """Whether images (N, C, H, W) in [0, 1] show it: (N,) bool."""

    @abstractmethod
    def score(self, images: Tensor) -> np.ndarray:
        """How near images (N, C, H, W) in [0, 1] come to it, (N,): higher is nearer."""

    @abstractmethod
    def control(self) -> Goal | None:
        """What the original model never learned, sought in the same way; None if there is none."""

    @abstractmethod
    def forgotten(self, original: Denoiser, count: int, seed: int) -> Examples:
        """At most `count` examples of what was to go."""

    def originals(self, original: Denoiser, count: int, seed: int) -> Examples:
        """At most `count` forgotten pictures themselves, or what stands for them."""
        return self.forgotten(original, count, seed)

    @abstractmethod
    def retained(self, original: Denoiser, count: int, seed: int) -> Examples:
        """At most `count` examples of what stays, nothing of what was to go among them."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ConditionGoal(Goal):
    """Looked for in samples that were asked for by labels or prompts.

    `sought` asks for it, `others` for what stays. Examples are drawn by the original model: no
    data set is needed.
    """

    sought: Sequence[Any]
    asked: Sequence[Any]  # of samples: `sought`, `others` for a control, empty for nothing
    others: Sequence[Any]
    guidance: float = 1.0

    kind: ClassVar[str]  # of question
    wording: ClassVar[str]  # of asking for it
    nothing: ClassVar[str]  # what a model is given that is asked for nothing

    @property
    @abstractmethod
    def seen_by(self) -> str:
        """Who looks at the samples, in words for a protocol."""

    @property
    @abstractmethod
    def neighbours(self) -> Mapping[int, Any]:
        """What stays and is asked for one by one, by its place on an axis."""

    @abstractmethod
    def call(self, neighbour: Any) -> str:
        """A question of what stays, as a reader sees it."""

    @abstractmethod
    def tell_exchange(self, pairs: Sequence[tuple[Any, Any]]) -> str:
        """That both questions of each pair mean each other, in words."""

    @property
    def asks(self) -> str:
        """What samples are asked for, in words for a protocol."""
        if not self.asked:
            return f"asked for nothing ({self.nothing})"
        if list(self.asked) == list(self.others):
            return f"asked for {self.kind}s that stay, taking turns"
        return self.wording

    def describe(self, sampler: Sampler) -> str:
        return (
            f"{self.asks}, {sampler.describe()} (a one-step generator: its one step); "
            f"{self.seen_by}"
        )

    def asking(self, questions: Sequence[Any]) -> Self:
        """The same thing, looked for under other questions."""
        return replace(self, asked=questions)

    def unnamed(self, denoiser: Denoiser) -> Self:
        """Asked for nothing; for what stays, where a class model has no null label."""
        return self.asking(() if has_null(denoiser) else self.others)

    def questions(self, count: int) -> list[Any]:
        return in_turn(self.asked, count)

    def condition(self, denoiser: Denoiser, count: int) -> Condition | None:
        if self.asked:
            return denoiser.encode(self.questions(count))
        like = denoiser.encode([self.others[0]] * count)
        assert like is not None  # a model that is asked takes conditions
        return denoiser.nothing(like)

    def measure(self, denoiser: Denoiser, sampler: Sampler, samples: int, seed: int) -> Estimate:
        condition = self.condition(denoiser, samples)
        images = draw_images(denoiser, sampler, condition, range(seed, seed + samples))
        return proportion(int(self.shown(images).sum()), samples)

    def control(self) -> Self:
        """Looked for among samples of what stays."""
        return self.asking(self.others)

    def forgotten(self, original: Denoiser, count: int, seed: int) -> Examples:
        return self._drawn(original, in_turn(self.sought, count), seed)

    def retained(self, original: Denoiser, count: int, seed: int) -> Examples:
        # Away from the forgotten ones, for the same noise draws related pictures.
        return self._drawn(original, in_turn(self.others, count), seed + 100_000)

    def _drawn(self, original: Denoiser, asked: list[Any], seed: int) -> Examples:
        seeds = range(EXAMPLE_SEED + seed, EXAMPLE_SEED + seed + len(asked))
        condition = original.encode(asked)
        sampler = MultiStep(EXAMPLE_STEPS, guidance=self.guidance)
        images = draw_images(original, sampler, condition, seeds)
        generator = torch.Generator().manual_seed(EXAMPLE_SEED + seed)
        x0 = original.codec.encode(images.to(original.device) * 2 - 1, generator)
        return Examples(x0=x0, asked=asked)


def in_turn(questions: Sequence[Any], count: int) -> list[Any]:
    return [questions[i % len(questions)] for i in range(count)]
