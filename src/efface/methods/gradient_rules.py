"""How the retain gradient and the forget gradient become one.

Every rule is g = g_retain + c g_forget with a number c; rules differ in c alone. The forget loss is
what forgetting minimises, so for SISS g_forget = -grad L_A.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from efface.errors import RunError

VANISHING = 1e-8  # a forget gradient below this share of the retain gradient is none


@dataclass(frozen=True, eq=False, kw_only=True)
class Products:
    """Inner products of the two gradients over all parameters: scalars."""

    retain: Tensor  # |g_retain|^2
    forget: Tensor  # |g_forget|^2
    cross: Tensor  # <g_retain, g_forget>

    @property
    def vanishing(self) -> bool:
        """Whether the forget gradient is too small to have a direction."""
        return bool(self.forget.sqrt() <= VANISHING * self.retain.sqrt())


class GradientRule(ABC):
    """Turns two gradients into one; `separate` says that it needs both of them."""

    separate: bool = True

    def coefficient(self, products: Products, logs: Mapping[str, float]) -> float:
        """The factor c of the forget gradient; 0 where that has vanished, never inf."""
        return 0.0 if products.vanishing else float(self.scale(products, logs))

    @abstractmethod
    def scale(self, products: Products, logs: Mapping[str, float]) -> Tensor | float:
        """C for a forget gradient that has a direction; `logs` are the step's own numbers."""

    def tensors(self) -> dict[str, Tensor]:
        """What a resumed run needs; most rules remember nothing."""
        return {}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        del tensors


@dataclass(frozen=True, kw_only=True)
class PlainSum(GradientRule):
    """C = 1: the gradient of one sum, so one backward pass does."""

    separate = False

    def scale(self, products: Products, logs: Mapping[str, float]) -> float:
        return 1.0


@dataclass(frozen=True, kw_only=True)
class RelativeNorm(GradientRule):
    """|c g_forget| is `ratio` of |g_retain| (SISS, arXiv 2503.01034: "clipped to 10 %").

    With `only_when_larger` a smaller forget gradient is left as it is: a clip, in the paper's
    words. Without it small gradients are scaled up too. Where the retain gradient is 0, nothing is
    forgotten. A student that regresses its own teacher may start there and then never leaves: with
    `starts_at_rest` that is a RunError.
    """

    ratio: float = 0.1
    only_when_larger: bool = True
    starts_at_rest: bool = False

    def scale(self, products: Products, logs: Mapping[str, float]) -> Tensor:
        if self.starts_at_rest and float(products.retain) == 0:
            raise RunError(
                "the student equals its teacher, so the retain gradient is 0; relative_norm scales "
                "the forget gradient to it, and nothing would ever be forgotten: set "
                "method.retain_target=noise or method.rule_name=fixed_norm."
            )
        scale = self.ratio * (products.retain / products.forget).sqrt()
        return scale.clamp_max(1.0) if self.only_when_larger else scale


@dataclass(frozen=True, kw_only=True)
class FixedNorm(GradientRule):
    """|c g_forget| = value, whatever the retain gradient: what the published SISS code does."""

    value: float

    def scale(self, products: Products, logs: Mapping[str, float]) -> Tensor:
        return self.value / products.forget.sqrt()


@dataclass(frozen=True, kw_only=True)
class Projection(GradientRule):
    """C = max(eta - <g_retain, g_forget> / |g_forget|^2, 0): EraseDiff (arXiv 2401.05779).

    The step never raises the forget loss: <g, g_forget> >= eta |g_forget|^2.
    """

    eta: float = 1e-3

    def scale(self, products: Products, logs: Mapping[str, float]) -> Tensor:
        return (self.eta - products.cross / products.forget).clamp_min(0.0)


class DualVariable(GradientRule):
    """C is the multiplier of "the loss of the forget set is at least `level`" (arXiv 2605.30825).

    After every step c moves by `rate` (level - loss) / level and stays in [0, maximum]. `level`
    and the step's `forgotten_loss` are means over pixels.
    """

    def __init__(self, level: float, rate: float = 0.02, maximum: float = 1.0) -> None:
        self.level, self.rate, self.maximum = level, rate, maximum
        self.value = 0.0

    def scale(self, products: Products, logs: Mapping[str, float]) -> float:
        current = self.value
        gap = (self.level - logs["forgotten_loss"]) / self.level
        self.value = min(max(current + self.rate * gap, 0.0), self.maximum)
        return current

    def tensors(self) -> dict[str, Tensor]:
        return {"value": torch.tensor(self.value, dtype=torch.float64)}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        self.value = float(tensors["value"])
