"""The retain gradient and the forget gradient, apart until a rule makes them one."""

from collections.abc import Mapping, Sequence

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from efface.methods.base import LossTerms
from efface.methods.gradient_rules import GradientRule, Products
from efface.training.processes import mean_over_processes


class GradientPair:
    """Two gradients of the same parameters: one in `.grad`, the other in buffers of this object.

    The two are swapped, never copied, so that both accumulate in place: one parameter-sized buffer
    more than ordinary training has.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self._parameters = parameters
        self._forget: list[Tensor | None] = [None] * len(parameters)

    def backward(self, terms: LossTerms, scale: float) -> None:
        """Add this part's gradients; a term that depends on no parameter adds nothing."""
        if terms.forget is not None and terms.forget.requires_grad:
            self._swap()
            (terms.forget * scale).backward(retain_graph=terms.retain.requires_grad)
            self._swap()
        if terms.retain.requires_grad:
            (terms.retain * scale).backward()

    @torch.no_grad()
    def combine(
        self, rule: GradientRule, logs: Mapping[str, float], accelerator: Accelerator
    ) -> dict[str, float]:
        """Write g_retain + c g_forget into `.grad`; returns both norms and c for the log."""
        retain = [_present(p.grad, p) for p in self._parameters]
        forget = [_present(g, p) for g, p in zip(self._forget, self._parameters, strict=True)]
        retain = mean_over_processes(retain, accelerator)
        forget = mean_over_processes(forget, accelerator)
        products = Products(
            retain=torch.nn.utils.get_total_norm(retain).square(),
            forget=torch.nn.utils.get_total_norm(forget).square(),
            cross=torch.stack([(r * f).sum() for r, f in zip(retain, forget, strict=True)]).sum(),
        )
        coefficient = rule.coefficient(products, logs)
        torch._foreach_add_(retain, forget, alpha=coefficient)
        for parameter, gradient in zip(self._parameters, retain, strict=True):
            parameter.grad = gradient
        self._forget = [None] * len(self._parameters)
        return {
            "retain_gradient_norm": float(products.retain.sqrt()),
            "forget_gradient_norm": float(products.forget.sqrt()),
            "forget_coefficient": coefficient,
            "forget_gradient_vanished": float(products.vanishing),
        }

    def _swap(self) -> None:
        for i, parameter in enumerate(self._parameters):
            parameter.grad, self._forget[i] = self._forget[i], parameter.grad


def _present(gradient: Tensor | None, parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if gradient is None else gradient
