"""Settings of tiny runs without a request, and what lives while they train."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from efface.memory.live import tensors_of
from efface.settings.base import Settings, read_settings
from efface.training.trainer import Trainer


@pytest.fixture
def settings_of() -> Callable[..., Settings]:
    """Settings of a method for batches of four rows, and changes to them."""

    def read(method: str, *changes: str) -> Settings:
        share = ["method.forget_share=0.5"] if method == "sfd" else []
        small = ["train.steps=2", "train.batch_size=4", *share]
        return read_settings("none", None, method=method, changes=[*small, *changes])

    return read


@pytest.fixture
def held() -> Callable[..., int]:
    """Bytes of tensors, those that share memory counted once."""

    def count(tensors: list[torch.Tensor]) -> int:
        storages = [tensor.untyped_storage() for tensor in tensors]
        return sum({s._cdata: s.nbytes() for s in storages}.values())

    return count


@pytest.fixture
def moments() -> Callable[[Trainer], list[torch.Tensor]]:
    """What the optimizers of a trainer hold."""

    def of(trainer: Trainer) -> list[torch.Tensor]:
        phases = trainer.stepper.phases.values()
        states = [state for phase in phases for state in phase.optimizer.state.values()]
        return [value for state in states for value in state.values()]

    return of


@pytest.fixture
def held_by(moments: Callable[..., list[torch.Tensor]]) -> Callable[..., list[torch.Tensor]]:
    """All that lives between two steps, but what it is fed with."""

    def of(trainer: Trainer, pretrained: nn.Module) -> list[torch.Tensor]:
        networks = [tensors_of(denoiser.network) for denoiser in trainer.networks.values()]
        phases = trainer.stepper.phases.values()
        gradients = [p.grad for phase in phases for p in phase.parameters if p.grad is not None]
        return [
            *tensors_of(pretrained),
            *sum(networks, []),
            *tensors_of(trainer.average.module),
            *moments(trainer),
            *gradients,
        ]

    return of
