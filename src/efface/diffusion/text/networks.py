"""(x_t, time, condition) -> output, for the network of each family.

`time` is what the network's timestep embedding was trained with: the timestep, or 1000 sigma for
flow matching, (B,). The output has the shape of x_t, and more channels where a variance is learned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

Tensors = Mapping[str, Tensor]


def _call_sd(network: Any, x_t: Tensor, time: Tensor, tensors: Tensors) -> Tensor:
    return network(x_t, time, **tensors, return_dict=False)[0]


def _call_sdxl(network: Any, x_t: Tensor, time: Tensor, tensors: Tensors) -> Tensor:
    states = tensors["encoder_hidden_states"]
    added = {name: tensors[name] for name in ("text_embeds", "time_ids")}
    return network(
        x_t, time, encoder_hidden_states=states, added_cond_kwargs=added, return_dict=False
    )[0]


def _call_sd3(network: Any, x_t: Tensor, time: Tensor, tensors: Tensors) -> Tensor:
    return network(x_t, timestep=time, **tensors, return_dict=False)[0]


def _call_flux(network: Any, x_t: Tensor, time: Tensor, tensors: Tensors) -> Tensor:
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


def _call_pixart(network: Any, x_t: Tensor, time: Tensor, tensors: Tensors) -> Tensor:
    return network(
        x_t,
        timestep=time,
        encoder_hidden_states=tensors["encoder_hidden_states"],
        encoder_attention_mask=tensors["encoder_attention_mask"],
        added_cond_kwargs={name: tensors.get(name) for name in ("resolution", "aspect_ratio")},
        return_dict=False,
    )[0]


CALL: Mapping[str, Callable[[Any, Tensor, Tensor, Tensors], Tensor]] = {
    "sd": _call_sd,
    "sdxl": _call_sdxl,
    "sd3": _call_sd3,
    "flux": _call_flux,
    "pixart_alpha": _call_pixart,
    "pixart_sigma": _call_pixart,
}


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
