"""The contract: a method is its losses and nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from torch import Tensor

from efface.data.bank import ImageBank
from efface.data.batch import Batch
from efface.data.randomness import RowRandom
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.sampling import MultiStep, Sampler
from efface.methods.gradient_rules import GradientRule, WeightedSum

Need = Literal["conditions", "retain_images", "forget_images", "prior"]


@dataclass(frozen=True, eq=False, kw_only=True)
class StepContext:
    """Everything a loss may read.

    `memo` lives for one step and is shared by its phases.
    """

    step: int
    steps: int
    batch: Batch
    rng: RowRandom
    networks: Mapping[str, Denoiser]
    bank: ImageBank | None = None  # all images of a request that is about images
    memo: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, kw_only=True)
class LossTerms:
    """Scalars: what keeps, what forgets. `logs` are scalars for the log alone."""

    retain: Tensor
    forget: Tensor | None = None
    logs: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def total(self) -> Tensor:
        return self.retain if self.forget is None else self.retain + self.forget


def per_sample_sum(x: Tensor) -> Tensor:
    """Sum over all but the batch dimension: (B, ...) -> (B,)."""
    return x.flatten(1).sum(1)


class Method(ABC):
    """Base of all methods: subclasses are frozen dataclasses of their hyperparameters."""

    summary: ClassVar[str]  # one line, for `efface methods`
    phases: ClassVar[tuple[str, ...]] = ("student",)  # networks updated in one step, in order
    delivers: ClassVar[str] = "student"  # the network that is the result
    needs: ClassVar[frozenset[Need]] = frozenset()
    inherited: ClassVar[tuple[str, ...]] = ()  # what a run has in common with one it starts from
    train_defaults: ClassVar[Mapping[str, Any]] = {}  # settings of the loop that suit the method
    forget_share: float = 0.0  # rows to forget as a fraction of the retained rows

    @property
    def asks_prior(self) -> bool:
        """Whether the share of the images to forget in the training data matters."""
        return "prior" in self.needs

    def networks(self, pretrained: Denoiser) -> dict[str, Denoiser]:
        """The networks of a run; those of `phases` have parameters of their own."""
        return {"student": pretrained.clone()}

    def active(self, phase: str) -> tuple[str, ...]:
        """Networks that carry gradient and train mode in `phase`; the others are frozen."""
        return (phase,)

    def learning_rate_ratio(self, phase: str) -> float:
        """Learning rate of `phase` as a multiple of the run's."""
        del phase
        return 1.0

    def rule(self, phase: str) -> GradientRule:
        """How the gradients of the two terms become one."""
        del phase
        return WeightedSum()

    def passes(self, phase: str, network: str, retain: int, forget: int) -> tuple[int, ...]:
        """Rows of every pass of `network` that is kept for a gradient while `phase` runs.

        Of a batch with `retain` and `forget` rows. The estimate of memory counts what such passes
        keep; one without gradient keeps nothing.
        """
        del phase, network
        return (retain + forget,)

    @abstractmethod
    def loss(self, phase: str, ctx: StepContext) -> LossTerms: ...

    def sampler(self, pretrained: Denoiser) -> Sampler:
        """How the result is to be sampled."""
        del pretrained
        return MultiStep()
