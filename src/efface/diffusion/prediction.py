"""What a network said about a noisy sample, in every parameterisation."""

from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

PredictionKind = Literal["epsilon", "sample", "v_prediction", "flow"]
PREDICTION_KINDS: tuple[str, ...] = get_args(PredictionKind)


def true_output(
    x0: Tensor, eps: Tensor, levels: tuple[Tensor, Tensor], kind: PredictionKind
) -> Tensor:
    """What a network that knows x0 and eps says at x_t = alpha x0 + sigma eps."""
    alpha, sigma = levels
    if kind == "epsilon":
        return eps
    if kind == "sample":
        return x0
    if kind == "v_prediction":
        return alpha * eps - sigma * x0
    return eps - x0  # flow: d x_t / d sigma, since alpha = 1 - sigma


@dataclass(frozen=True, eq=False, kw_only=True)
class Prediction:
    """One network output on x_t = alpha x0 + sigma eps, read as x0, eps, v or score, in float32.

    `output` and `x_t` are (B, ...); `alpha` and `sigma` broadcast over them. A schedule that
    reaches alpha = 0, where x0 does not follow from eps, is not read for `epsilon`. A `flow` output
    is eps - x0 (rectified flow, where alpha + sigma = 1).
    """

    output: Tensor
    x_t: Tensor
    alpha: Tensor
    sigma: Tensor
    kind: PredictionKind

    @classmethod
    def from_output(
        cls, output: Tensor, x_t: Tensor, levels: tuple[Tensor, Tensor], kind: PredictionKind
    ) -> "Prediction":
        alpha, sigma = levels
        return cls(output=output.float(), x_t=x_t.float(), alpha=alpha, sigma=sigma, kind=kind)

    @property
    def x0(self) -> Tensor:
        """The expected clean sample (Tweedie)."""
        if self.kind == "sample":
            return self.output
        if self.kind == "v_prediction":
            return self.alpha * self.x_t - self.sigma * self.output
        if self.kind == "flow":
            return (self.x_t - self.sigma * self.output) / (self.alpha + self.sigma)
        return (self.x_t - self.sigma * self.output) / self.alpha

    @property
    def eps(self) -> Tensor:
        """The expected noise. Undefined at sigma = 0 for models that predict the sample."""
        if self.kind == "epsilon":
            return self.output
        if self.kind == "v_prediction":
            return self.alpha * self.output + self.sigma * self.x_t
        if self.kind == "flow":
            return (self.x_t + self.alpha * self.output) / (self.alpha + self.sigma)
        return (self.x_t - self.alpha * self.output) / self.sigma

    @property
    def v(self) -> Tensor:
        """V = alpha eps - sigma x0 (Salimans & Ho, 2022)."""
        if self.kind == "v_prediction":
            return self.output
        return self.alpha * self.eps - self.sigma * self.x0

    @property
    def score(self) -> Tensor:
        """Grad log p_t(x_t) = -eps / sigma."""
        return -self.eps / self.sigma
