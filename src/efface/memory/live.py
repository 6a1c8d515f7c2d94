"""Bytes of tensors that live at once, counted where torch makes them.

Tensors without a device have bytes to count as well, and take none.
"""

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.checkpoint import checkpoint

ATTENTION = F.scaled_dot_product_attention
# What autocast passes in bfloat16 and, on a GPU alone, in float32, of what networks are made of.
HALF = {F.linear, F.conv1d, F.conv2d, torch.bmm, torch.baddbmm, torch.matmul, ATTENTION}
HALF |= {Tensor.bmm, Tensor.matmul, Tensor.__matmul__}
WHOLE = {F.layer_norm, F.group_norm, F.rms_norm, F.softmax, Tensor.softmax}


# What functions made of tensors without a device, by what they were given; None where they share
# memory. Torch derives shapes in Python, at most of the cost of a pass, and networks repeat blocks.
MADE: dict[Any, list[tuple[Any, ...] | None] | None] = {}


def tensors_of(module: nn.Module) -> list[Tensor]:
    """Parameters and buffers, all of them: a shared network names its adapter's alone."""
    groups = [(*m._parameters.values(), *m._buffers.values()) for m in module.modules()]
    return [tensor for group in groups for tensor in group if tensor is not None]


def _make(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a function makes, from memory if nothing that it is given or makes has a device."""
    try:
        given = func, _kinds(args), _kinds(tuple(kwargs.items()))
        kinds = MADE.get(given)
    except TypeError:
        return func(*args, **kwargs)
    if kinds is None:
        made = func(*args, **kwargs)
        if given not in MADE:
            MADE[given] = _kinds_made(made, (args, kwargs))
        return made
    made = [kind and torch.empty_strided(*kind[:2], dtype=kind[2], device="meta") for kind in kinds]
    return tuple(made) if len(made) > 1 else made[0]


def _kinds(value: Any) -> Any:
    """All that decides about shapes; TypeError for tensors with a device."""
    if isinstance(value, Tensor):
        if not value.is_meta:
            raise TypeError
        return value.shape, value.stride(), value.dtype
    if isinstance(value, list | tuple):
        return tuple(map(_kinds, value))
    return type(value), value


def _kinds_made(made: Any, given: Any) -> list[tuple[Any, ...] | None] | None:
    """Of new tensors without a device; None for anything else."""
    made = list(made) if isinstance(made, tuple) else [made]
    new = [tensor for tensor in made if tensor is not None]
    if not new or not all(isinstance(tensor, Tensor) and tensor.is_meta for tensor in new):
        return None
    old = [tensor for tensor in tree_leaves(given) if isinstance(tensor, Tensor)]
    memory = [{tensor.untyped_storage()._cdata for tensor in tensors} for tensors in (old, new)]
    if memory[0] & memory[1] or len(memory[1]) < len(new):
        return None
    return [None if tensor is None else _kinds(tensor) for tensor in made]


class Live(TorchDispatchMode):
    """Bytes of the tensors given and of all that come into being: now, and at most."""

    def __init__(self, tensors: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()
        self.now = self.peak = 0
        for tensor in tensors:
            self._note(tensor)
        self.given = self.now

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        made = _make(func, args, kwargs or {})
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


class Kernels(TorchFunctionMode):
    """Passes tensors without a device as a device would.

    Attention takes the fused kernel: the explicit softmax would run. With `autocast`, the type of a
    device, values are cast to bfloat16; a trained weight once as long as `casts` is a table, and
    every other one at each use.
    """

    def __init__(self, autocast: str | None = None) -> None:
        super().__init__()
        self._autocast = autocast
        self.casts: dict[Tensor, Tensor] | None = {}  # by weight

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
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

    def checkpointed(self) -> Callable[..., Any]:
        """Pass a block that keeps its inputs alone, and that a backward pass passes again."""

        def passed(module: Any, *inputs: Any) -> Any:
            with self:  # which a backward pass leaves
                return module(*inputs)

        return lambda *given: checkpoint(passed, *given, use_reentrant=False)

    def _half(self, value: Any) -> Any:
        if not isinstance(value, Tensor) or value.dtype != torch.float32:
            return value
        trained = isinstance(value, nn.Parameter) and value.requires_grad
        if self.casts is None or not trained:
            return value.to(torch.bfloat16)
        if value not in self.casts:
            self.casts[value] = value.to(torch.bfloat16)
        return self.casts[value]


def _float(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) else value
