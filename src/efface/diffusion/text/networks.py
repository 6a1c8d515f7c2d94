"""(x_t, time, condition) -> output, for the network of each family.

`time` is what the network's timestep embedding was trained with: the timestep, or 1000 sigma for
flow matching, (B,). The output has the shape of x_t, and more channels where a variance is learned.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from efface.diffusion.text.families import TextFamily

Tensors = Mapping[str, Tensor]


def call_network(
    network: Any, family: TextFamily, x_t: Tensor, time: Tensor, tensors: Tensors
) -> Tensor:
    """What a network says of x_t (B, C, H, W) with conditions by the names of its arguments."""
    if family.packed:
        return _call_packed(network, x_t, time, tensors)
    given: dict[str, Any] = {n: tensor for n, tensor in tensors.items() if n not in family.added}
    if family.added:
        given["added_cond_kwargs"] = {name: tensors.get(name) for name in family.added}
    return network(x_t, timestep=time, **given, return_dict=False)[0]


def _call_packed(network: Any, x_t: Tensor, time: Tensor, tensors: Tensors) -> Tensor:
    height, width = x_t.shape[-2] // 2, x_t.shape[-1] // 2
    tokens = tensors["encoder_hidden_states"].shape[1]
    rows, columns = torch.meshgrid(
        torch.arange(height, device=x_t.device),
        torch.arange(width, device=x_t.device),
        indexing="ij",
    )
    places = torch.stack([torch.zeros_like(rows), rows, columns], -1).view(-1, 3)
    output = network(
        pack(x_t),
        timestep=time / 1000,
        **tensors,
        img_ids=places.to(x_t.dtype),
        txt_ids=x_t.new_zeros(tokens, 3),
        return_dict=False,
    )[0]
    return unpack(output, height, width)


def pack(latents: Tensor) -> Tensor:
    """FLUX's tokens, 2 x 2 latents each: (B, C, H, W) -> (B, HW / 4, 4 C)."""
    batch, channels, height, width = latents.shape
    blocks = latents.view(batch, channels, height // 2, 2, width // 2, 2)
    return blocks.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, 4 * channels)


def unpack(tokens: Tensor, rows: int, columns: int) -> Tensor:
    """The inverse of `pack`, for `rows` x `columns` tokens: (B, HW / 4, 4 C) -> (B, C, H, W)."""
    batch, _, channels = tokens.shape
    blocks = tokens.view(batch, rows, columns, channels // 4, 2, 2)
    return blocks.permute(0, 3, 1, 4, 2, 5).reshape(batch, channels // 4, 2 * rows, 2 * columns)
