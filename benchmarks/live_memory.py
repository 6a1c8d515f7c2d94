"""Bytes of live tensors, counted where torch makes them and not where the library says."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def held(tensors: Iterable[Tensor]) -> int:
    """Bytes, tensors that share memory counted once."""
    storages = [tensor.untyped_storage() for tensor in tensors]
    return sum({s.data_ptr(): s.nbytes() for s in storages}.values())


class Live(TorchDispatchMode):
    """Bytes of the tensors given and of all that come into being: now, and at most."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        super().__init__()
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()
        self.now = self.peak = 0
        for tensor in tensors:
            self._note(tensor)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._note(tensor)
        return made

    def _note(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage not in self._known:
            self._known.add(storage)
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._gone, storage.nbytes())

    def _gone(self, size: int) -> None:
        self.now -= size
