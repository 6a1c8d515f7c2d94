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


def _group_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, *given: Any) -> Any:
    rows, _, _, groups, _ = given
    return torch.empty_like(x), *(x.new_empty(rows, groups) for _ in range(2))


def _norm_backward(grad: Tensor, x: Tensor, *given: Any) -> Any:
    """Gradients of the input, the weight and the bias, as far as they are wanted."""
    *others, wanted = given
    weight = [entry for entry in others if isinstance(entry, Tensor)][-1]  # or the bias, as large
    sizes = zip((x.shape, weight.shape, weight.shape), wanted, strict=True)
    return tuple(x.new_empty(size) if one else None for size, one in sizes)


# What torch derives without a device in Python, at half of the cost of a whole pass.
SHAPES: dict[Any, Callable[..., Any]] = {
    torch.ops.aten.native_group_norm.default: _group_norm,
    torch.ops.aten.native_group_norm_backward.default: _norm_backward,
    torch.ops.aten.native_layer_norm_backward.default: _norm_backward,
}


def tensors_of(module: nn.Module) -> list[Tensor]:
    """Parameters and buffers, all of them: a shared network names its adapter's alone."""
    groups = [(*m._parameters.values(), *m._buffers.values()) for m in module.modules()]
    return [tensor for group in groups for tensor in group if tensor is not None]


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
        known = SHAPES.get(func) if args and getattr(args[0], "is_meta", False) else None
        made = (known or func)(*args, **(kwargs or {}))
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
