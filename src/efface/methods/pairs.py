"""Retained images and images to forget, noised together: what image methods compare."""

from dataclasses import dataclass

from torch import Tensor

from efface.data.batch import ImageBank, Side
from efface.diffusion.denoiser import Condition, Denoiser
from efface.methods.base import StepContext

Rows = slice | Tensor  # row numbers, or a mask
ALL = slice(None)


@dataclass(frozen=True, eq=False, kw_only=True)
class Pairs:
    """Retained images x and images to forget a, row by row, with one timestep and noise each.

    Where single images are forgotten, both of a row have one condition (arXiv 2503.01034, section
    4); where a label is, each has its own.
    """

    x: Tensor  # (B, ...) in model space
    a: Tensor
    t: Tensor  # (B,)
    eps: Tensor  # (B, ...)
    levels: tuple[Tensor, Tensor]  # alpha, sigma, broadcast over x
    in_window: Tensor  # (B,) bool: whether the row's image is forgotten at its timestep
    teacher_rows: Tensor  # (B,) bool: whether the retain term regresses the original model there
    condition: Condition | None = None  # of x, one row each; None for unconditional models
    forget_condition: Condition | None = None  # of a

    def noised(self, y: Tensor) -> Tensor:
        """Alpha y + sigma eps: (B, ...) -> (B, ...)."""
        alpha, sigma = self.levels
        return alpha * y + sigma * self.eps

    def noise_towards(self, y: Tensor, m: Tensor) -> Tensor:
        """(m - alpha y) / sigma: the noise that leads from y to m, (B, ...)."""
        alpha, sigma = self.levels
        return (m - alpha * y) / sigma

    def eps_theta(self, denoiser: Denoiser, m: Tensor, rows: Rows = ALL) -> Tensor:
        """A network's noise prediction at rows of m (B, ...) under the conditions of x."""
        return denoiser(m[rows], self.t[rows], condition_rows(self.condition, rows)).eps

    def forget_eps_theta(self, denoiser: Denoiser, m: Tensor, rows: Rows = ALL) -> Tensor:
        """A network's noise prediction at rows of m (B, ...) under the conditions of a."""
        return denoiser(m[rows], self.t[rows], condition_rows(self.forget_condition, rows)).eps


def images(side: Side) -> Tensor:
    """(B, C, H, W) in model space."""
    assert side.x0 is not None  # `needs` says so
    return side.x0


def condition_rows(condition: Condition | None, rows: Rows) -> Condition | None:
    """Rows of a condition; unconditional models have none."""
    return None if condition is None else condition[rows]


def bank_of(ctx: StepContext) -> ImageBank:
    assert ctx.bank is not None  # the source of an image request has one
    return ctx.bank
