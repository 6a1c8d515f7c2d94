"""A network that one phase of a step updates: its optimizer, and the update itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from efface.errors import ConfigError
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
