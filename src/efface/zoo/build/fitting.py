"""Plain fitting of small networks that are no diffusion models: judges, detectors, autoencoders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from efface.progress import Bar


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig:
    """An `AutoencoderKL` and how it is trained, addressed as `autoencoder.NAME`."""

    channels: tuple[int, ...] = (16, 32, 64)  # by resolution; each but the last halves it
    latent_channels: int = 4
    layers: int = 1
    norm_groups: int = 8
    steps: int = 2000
    batch_size: int = 64
    learning_rate: float = 2e-3
    kl_weight: float = 1e-3
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class DetectorConfig:
    """A multi-label classifier and how it is trained, addressed as `detector.NAME`."""

    widths: tuple[int, ...] = (32, 64, 128)
    size: int = 64  # pixels to the side that pictures are resized to
    steps: int = 2000
    batch_size: int = 128
    learning_rate: float = 3e-3
    seed: int = 0


def fit(
    module: nn.Module, loss: Callable[[int], Tensor], steps: int, learning_rate: float, what: str
) -> None:
    """Lower `loss`, a scalar by the number of the step, with AdamW on a one-cycle schedule.

    `what` names the work for the progress bar; `module` is left in evaluation mode.
    """
    optimizer = torch.optim.AdamW(module.parameters(), lr=learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, steps)
    module.train()
    with Bar(what, steps) as bar:
        for step in range(steps):
            value = loss(step)
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            optimizer.step()
            schedule.step()
            bar.advance()
    module.eval()
