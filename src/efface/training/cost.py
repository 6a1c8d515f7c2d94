"""What training costs, in network forwards: the same figure on every machine."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class Forwards:
    """How many forwards were made: one image through one network, once.

    The backward pass behind it counts as two more where weights take a gradient, as one where the
    input alone does. Passes that gradient checkpointing repeats are not counted.
    """

    def __init__(self) -> None:
        self.count = 0

    def _note(self, network: nn.Module, inputs: tuple[Any, ...]) -> None:
        x_t: Tensor = inputs[0]
        backward = 0
        if torch.is_grad_enabled():
            weights = any(parameter.requires_grad for parameter in network.parameters())
            backward = 2 if weights else int(x_t.requires_grad)
        self.count += len(x_t) * (1 + backward)

    @contextmanager
    def counted(self, networks: Iterable[nn.Module]) -> Iterator[None]:
        """Count the passes of these networks for as long as the block lasts."""
        own = {id(network): network for network in networks}.values()
        note: Any = torch.compiler.disable(self._note)
        handles = [network.register_forward_pre_hook(note) for network in own]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
