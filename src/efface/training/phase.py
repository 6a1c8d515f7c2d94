"""A network that one phase of a step updates: its optimizer, and the update itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from efface.errors import ConfigError
from efface.methods.base import LossTerms
from efface.methods.gradient_rules import GradientRule, Products
from efface.training.processes import mean_over_processes
from efface.training.settings import TrainSettings


@dataclass(eq=False, kw_only=True)
class Phase:
    """A trained network with its optimizer; `masks` are those of its parameters that have one."""

    name: str
    raw: nn.Module
    wrapped: nn.Module  # as Accelerate hands it back: DDP where there are several processes
    modules: list[nn.Module]
    parameters: list[nn.Parameter]
    optimizer: torch.optim.Optimizer
    rate: float  # its learning rate as a multiple of the run's
    masks: list[tuple[nn.Parameter, Tensor]] = field(default_factory=list)

    def activate(self, active: bool, training: bool | None = None) -> None:
        """Let the network take gradient or not; in train mode as well unless `training` is given.

        As `train` and `requires_grad_` do, without walking the module tree every time.
        """
        for module in self.modules:
            module.training = active if training is None else training
        for parameter in self.parameters:
            parameter.requires_grad = active

    def set_masks(self, masks: Mapping[str, Tensor]) -> None:
        """Bool masks by the parameter's name; ConfigError for a name that the network lacks."""
        named = dict(self.raw.named_parameters())
        for name in masks:
            if name not in named:
                raise ConfigError(
                    f"the update mask of {self.name} names {name!r}, which is no parameter of the "
                    "network: name those of its named_parameters()."
                )
        self.masks = [
            (named[name], mask.to(named[name].device, torch.bool)) for name, mask in masks.items()
        ]

    @torch.no_grad()
    def update(self, learning_rate: float) -> None:
        """One step of the optimizer; weights where a mask is False stay as they are."""
        before = [parameter.detach().clone() for parameter, _ in self.masks]
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate * self.rate
        self.optimizer.step()
        for (parameter, mask), weights in zip(self.masks, before, strict=True):
            parameter.copy_(torch.where(mask, parameter, weights))


def make_phase(
    name: str, network: nn.Module, rate: float, settings: TrainSettings, accelerator: Accelerator
) -> Phase:
    """All weights of a network, trained by AdamW."""
    network.train().requires_grad_(True)
    wrapped = accelerator.prepare_model(network)
    parameters = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters,
        lr=settings.learning_rate * rate,
        betas=(settings.beta1, settings.beta2),
        weight_decay=settings.weight_decay,
        fused=True,
    )
    return Phase(
        name=name,
        raw=network,
        wrapped=wrapped,
        modules=list(network.modules()),
        parameters=parameters,
        optimizer=optimizer,
        rate=rate,
    )


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
