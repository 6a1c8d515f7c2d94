"""Bytes that passes of a network hold, counted where torch makes or keeps tensors.

Tensors without a device have bytes to count as well, and take none.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

PASSING = 2  # gradients of the largest activations that a backward pass holds beside them
ATTENTION = F.scaled_dot_product_attention
# What autocast passes in bfloat16 and, on a GPU alone, in float32, of what networks are made of.
HALF = {F.linear, F.conv1d, F.conv2d, torch.bmm, torch.baddbmm, torch.matmul, ATTENTION}
HALF |= {Tensor.bmm, Tensor.matmul, Tensor.__matmul__}
WHOLE = {F.layer_norm, F.group_norm, F.rms_norm, F.softmax, Tensor.softmax}
Device = Literal["cpu", "cuda"]


def tensors_of(module: nn.Module) -> list[Tensor]:
    """Parameters and buffers, all of them: a shared network names its adapter's alone."""
    groups = [(*m._parameters.values(), *m._buffers.values()) for m in module.modules()]
    return [tensor for group in groups for tensor in group if tensor is not None]


def held(tensors: Iterable[Tensor]) -> int:
    """Bytes, tensors that share memory counted once."""
    storages = [tensor.untyped_storage() for tensor in tensors]
    return sum({s._cdata: s.nbytes() for s in storages}.values())


class Live(TorchDispatchMode):
    """Bytes of the tensors given and of all that come into being: now, and at most."""

    def __init__(self, tensors: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()
        self.now = self.peak = 0
        for tensor in tensors:
            self._note(tensor)
        self._given = self.now

    @property
    def more(self) -> int:
        """At most, beside the tensors given."""
        return self.peak - self._given

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        del types
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


@dataclass(frozen=True)
class Activations:
    """Bytes that one pass leaves behind: of every row, and of weights that autocast copied.

    `kept` until the backward pass, and more in `passing` while it runs. `cached` are copies that go
    before it runs.
    """

    kept: int
    passing: int
    copies_kept: int = 0
    copies_passing: int = 0
    cached: int = 0


class Kernels(TorchFunctionMode):
    """What is kept on a device, of tensors without one.

    Attention as the fused kernels keep it: the explicit softmax would run. With `autocast` on a
    kind of device, casts to bfloat16: a trained weight once in all, a frozen one at every use.
    """

    def __init__(self, autocast: Device | None = None) -> None:
        super().__init__()
        self._autocast = autocast
        self.cached: dict[int, Tensor] = {}  # by weight
        self.copies: list[Tensor] = []  # of all weights, so that no identity is given twice

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        del types
        kwargs = kwargs or {}
        if self._autocast is not None and func in HALF:
            args, kwargs = tree_map(self._half, (args, kwargs))
        if self._autocast == "cuda" and func in WHOLE:
            args, kwargs = tree_map(_float, (args, kwargs))
        if func is not ATTENTION:
            return func(*args, **kwargs)
        given = dict(zip(("query", "key", "value"), args, strict=False)) | kwargs
        fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        mask = given.get("attn_mask")
        return fused(given["query"], given["key"], given["value"], attn_mask=mask)[0]

    def _half(self, value: Any) -> Any:
        if not isinstance(value, Tensor) or value.dtype != torch.float32:
            return value
        if id(value) in self.cached:
            return self.cached[id(value)]
        half = value.to(torch.bfloat16)
        if isinstance(value, nn.Parameter):
            self.copies.append(half)
            if value.requires_grad and torch.is_grad_enabled():
                self.cached[id(value)] = half
        return half


def _float(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) else value


class Kept:
    """The storages that autograd keeps, parameters and buffers apart, by what they belong to."""

    def __init__(self, network: nn.Module, kernels: Kernels) -> None:
        self._own = {t.untyped_storage()._cdata for t in tensors_of(network)}
        self._kernels = kernels
        self._alive: list[Any] = []  # so that no identity is given twice
        self._outside: dict[int, int] = {}  # bytes by identity: kept outside all blocks
        self._given: dict[int, int] = {}  # what blocks are given
        self._blocks: list[dict[int, int]] = []  # what is kept within each
        self._within: dict[int, int] | None = None

    def add(self, tensor: Tensor) -> Tensor:
        self._note(tensor, self._outside if self._within is None else self._within)
        return tensor

    def block(self, module: Any, *inputs: Any) -> Any:
        """Pass a block that would be checkpointed, and note what it keeps and what it is given."""
        for tensor in tree_leaves(inputs):
            if isinstance(tensor, Tensor):
                self._note(tensor, self._given)
        self._within = {}
        output = module(*inputs)
        self._blocks.append(self._within)
        self._within = None
        return output

    def whole(self) -> Activations:
        every = self._outside | {k: v for block in self._blocks for k, v in block.items()}
        rows, copies = self._apart(every)
        passing = PASSING * max(rows.values(), default=0)
        return Activations(sum(rows.values()), passing, copies_kept=sum(copies.values()))

    def checkpointed(self) -> Activations:
        """Blocks keep what they are given alone, and the largest one is passed again."""
        kept, kept_copies = self._apart(self._outside | self._given)
        again = [self._apart(block) for block in self._blocks]
        inside = [{k: v for k, v in rows.items() if k not in kept} for rows, _ in again]
        largest = max((size for part in (kept, *inside) for size in part.values()), default=0)
        cached = {t.untyped_storage()._cdata: t.nbytes for t in self._kernels.cached.values()}
        return Activations(
            sum(kept.values()),
            max((sum(rows.values()) for rows in inside), default=0) + PASSING * largest,
            copies_kept=sum(kept_copies.values()),
            copies_passing=max((sum(copies.values()) for _, copies in again), default=0),
            cached=sum(size for k, size in cached.items() if k not in kept_copies),
        )

    def _apart(self, storages: dict[int, int]) -> tuple[dict[int, int], dict[int, int]]:
        """Those that come with every row, and copies of weights."""
        copies = {t.untyped_storage()._cdata for t in self._kernels.copies}
        rows = {k: v for k, v in storages.items() if k not in copies}
        return rows, {k: v for k, v in storages.items() if k in copies}

    def _note(self, tensor: Tensor, where: dict[int, int]) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._own:
            self._alive.append(storage)
            where[storage._cdata] = storage.nbytes()
