"""The contract: a method is its losses and nothing else."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field
from torch import Tensor

from efface.data.batch import Batch, ImageBank, WordBank
from efface.data.randomness import RowRandom
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.sampling import MultiStep, Sampler
from efface.methods.gradient_rules import GradientRule, PlainSum

Subject = Literal["conditions", "images"]
Need = Literal["images", "prior", "words"]
Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, eq=False, kw_only=True)
class StepContext:
    """Everything that a loss may read.

    `memo` lives for one step and is shared by its phases. `prepared` is the result of the
    method's pre-pass.
    """

    step: int
    steps: int
    batch: Batch
    rng: RowRandom
    networks: Mapping[str, Denoiser]
    bank: ImageBank | None = None  # all images of a request that is about images
    words: WordBank | None = None  # all words of a request about a concept
    memo: dict[str, Tensor] = field(default_factory=dict)
    prepared: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, kw_only=True)
class LossTerms:
    """The retain and the forget term, scalars; `logs` are scalars for the log alone."""

    retain: Tensor
    forget: Tensor | None = None
    logs: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def total(self) -> Tensor:
        return self.retain if self.forget is None else self.retain + self.forget


@dataclass(frozen=True, kw_only=True)
class InnerSteps:
    """Steps of plain gradient descent at `learning_rate`: the inner problem of a bilevel method."""

    count: int
    learning_rate: float


def per_sample_sum(x: Tensor) -> Tensor:
    """Sum over all but the batch dimension: (B, ...) -> (B,)."""
    return x.flatten(1).sum(1)


class Method(ABC):
    """Base of all methods: subclasses are frozen pydantic dataclasses of their hyperparameters.

    A hyperparameter is a field with a range and a sentence, `Field(default=0.5, ge=0, le=1,
    description="...")`; a number out of range or not finite is a pydantic ValidationError. A check
    over several of them stands in `__post_init__` and raises ConfigError.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", strict=True, allow_inf_nan=False
    )

    title: ClassVar[str]  # as papers and reports call it
    summary: ClassVar[str]  # one line, for `efface methods`
    phases: ClassVar[tuple[str, ...]] = ("student",)  # networks updated in one step, in order
    delivers: ClassVar[str] = "student"  # the network that is the result
    forgets: ClassVar[frozenset[Subject]] = frozenset()  # what it can be asked to forget
    needs: ClassVar[frozenset[Need]] = frozenset()  # what it is fed with, beside conditions
    reads_negative: ClassVar[bool] = False  # whether rows may have a negative prompt of their own
    network_classes: ClassVar[frozenset[str]] = frozenset()  # of diffusers; none: works on all
    inherited: ClassVar[tuple[str, ...]] = ()  # what a run has in common with one it starts from
    train_defaults: ClassVar[Mapping[str, Any]] = {}  # settings of the loop that suit the method
    as_published: ClassVar[Mapping[str, Any]] = {}  # of the published script, as `--set` has them
    repaired: ClassVar[str] = ""  # what that script does otherwise than its paper
    forget_share: float = 0.0  # forget rows of a batch as a share of its retained rows

    @property
    def asks_prior(self) -> bool:
        """Whether the share of the images to forget in the training data matters."""
        return "prior" in self.needs

    @property
    def guides_teacher(self) -> bool:
        """Whether the teacher is guided away from the null condition, or a negative prompt."""
        return False

    def guided(self, network: str) -> bool:
        """Whether passes of `network` are guided, so that they have twice the rows."""
        return False

    def networks(self, pretrained: Denoiser) -> dict[str, Denoiser]:
        """The networks of a run; those of `phases` have parameters of their own."""
        return {"student": pretrained.clone()}

    def active(self, phase: str) -> tuple[str, ...]:
        """Networks that carry gradient and train mode in `phase`; the others are frozen."""
        return (phase,)

    def learning_rate_ratio(self, phase: str) -> float:
        """Learning rate of `phase` as a multiple of the run's."""
        return 1.0

    def rule(self, phase: str) -> GradientRule:
        """How the gradients of the two terms become one."""
        return PlainSum()

    def passes(self, phase: str, network: str, retain: int, forget: int) -> tuple[int, ...]:
        """Rows of every pass of `network` that is kept for a gradient while `phase` runs.

        Of a batch with `retain` and `forget` rows. The estimate of memory counts what such passes
        keep; one without gradient keeps nothing.
        """
        return (retain + forget,)

    def prepare(self, contexts: Iterator[StepContext]) -> dict[str, Tensor]:
        """Tensors by name from a pre-pass over batches: Fisher information, a saliency mask.

        Runs before the first step. `contexts` never ends: take as many as it needs. Each is one
        part of a batch, and every process sees all parts; all trained networks take gradient and
        are in evaluation mode. The result is kept in checkpoints and is `ctx.prepared` in losses.
        """
        return {}

    def update_mask(self, phase: str, prepared: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Bool masks by the parameter's name: where one is False, `phase` leaves the weight as is.

        It is the update that is masked, not the gradient: momentum and weight decay move nothing
        there either. Parameters that are not named are updated in full.
        """
        return {}

    def inner(self, phase: str) -> InnerSteps | None:
        """Steps on `inner_loss` that come before the loss of `phase`; None: none.

        They move the weights of the phase's network; `loss` and its gradient are evaluated there.
        Then the weights are what they were, bit for bit, and the update is applied to them.
        """
        return None

    def inner_loss(self, phase: str, ctx: StepContext) -> Tensor:
        """What the inner steps of `phase` descend, a scalar; with noise of its own in each step."""
        raise NotImplementedError(f"{type(self).__name__} has inner steps and no inner_loss")

    def edit(self, ctx: StepContext) -> None:
        """Change weights of the networks in place, at the beginning of a step; in closed form."""
        return

    @abstractmethod
    def loss(self, phase: str, ctx: StepContext) -> LossTerms: ...

    def sampler(self, pretrained: Denoiser) -> Sampler:
        """How the result is to be sampled."""
        return MultiStep.within(pretrained)
