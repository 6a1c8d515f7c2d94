"""Fitting small networks that are no diffusion models: from which seed, and how."""

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from efface.data.randomness import random_state_kept
from efface.progress import Bar


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's random numbers of `seed` inside; the caller's own go on afterwards."""
    with random_state_kept():
        torch.manual_seed(seed)
        yield


def shuffled(count: int, rows: int, steps: int) -> Iterator[Tensor]:
    """`steps` batches of row numbers, all of `count` once per epoch in a new order."""
    per_epoch = count // rows
    for step in range(steps):
        if step % per_epoch == 0:
            order = torch.randperm(count)
        start = step % per_epoch * rows
        yield order[start : start + rows]


def fit(
    module: nn.Module, loss: Callable[[], Tensor], steps: int, learning_rate: float, what: str
) -> None:
    """Lower `loss`, a scalar that is asked for at each step, with AdamW on a one-cycle schedule.

    `what` names the work for the progress bar; `module` is left in evaluation mode.
    """
    optimizer = torch.optim.AdamW(module.parameters(), lr=learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, steps)
    module.train()
    with Bar(what, steps) as bar:
        for _ in range(steps):
            value = loss()
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            optimizer.step()
            schedule.step()
            bar.advance()
    module.eval()
