"""Prompts -> what each family's network is given, and (x_t, time, condition) -> its output.

Prompts go through the stock pipeline's own `encode_prompt`. `time` is what the network's timestep
embedding was trained with: the timestep, or 1000 sigma for flow matching, (B,). The output has the
shape of x_t, and more channels where a variance is learned.

Functions of `TELL`, of the families whose network is told more than the prompt, return what goes
along with all of them.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from efface.diffusion.quiet import quiet
from efface.diffusion.text.families import TextFamily

Encoded = Mapping[str, Tensor]

# The stock FluxPipeline's default: the guidance that a distilled network is told to imitate.
DISTILLED_GUIDANCE = 3.5
Size = tuple[float, float]  # (H, W) in pixels


def encode(pipeline: Any, prompts: list[str], family: TextFamily) -> Encoded:
    """Tensors with one row per prompt, of a pipeline that holds the text encoders alone."""
    options: dict[str, Any] = {
        "prompt_2": None,
        "prompt_3": None,
        "device": pipeline.text_encoder.device,
        "num_images_per_prompt": 1,
        "do_classifier_free_guidance": False,
        "max_sequence_length": family.longest,
    }
    known = inspect.signature(pipeline.encode_prompt).parameters
    taken = {name: value for name, value in options.items() if name in known}
    with quiet(), quiet("diffusers"):  # which print what they cut for an encoder that reads less
        given = zip(family.encoded, pipeline.encode_prompt(prompts, **taken), strict=False)
    return {name: tensor for name, tensor in given if name}


def _tell_sdxl(network: Any, size: Size) -> Encoded:
    """Size of the original image, upper left corner of the crop, size that is asked for."""
    return {"time_ids": torch.tensor([*size, 0.0, 0.0, *size])}


def _tell_flux(network: Any, size: Size) -> Encoded:
    return {"guidance": torch.tensor(DISTILLED_GUIDANCE)} if network.config.guidance_embeds else {}


def _tell_pixart_alpha(network: Any, size: Size) -> Encoded:
    if not network.use_additional_conditions:
        return {}
    height, width = size
    return {"resolution": torch.tensor(size), "aspect_ratio": torch.tensor([height / width])}


TELL: Mapping[str, Callable[[Any, Size], Encoded]] = {
    "sdxl": _tell_sdxl,
    "flux": _tell_flux,
    "pixart_alpha": _tell_pixart_alpha,
}


def constant_rows(network: Any, family: TextFamily, size: tuple[int, int]) -> Encoded:
    """What the network is told beside the prompt, one row each; `size` is (H, W) in pixels."""
    height, width = size
    return TELL[family.name](network, (float(height), float(width))) if family.name in TELL else {}


def call_network(
    network: Any, family: TextFamily, x_t: Tensor, time: Tensor, tensors: Encoded
) -> Tensor:
    """What a network says of x_t (B, C, H, W) with conditions by the names of its arguments."""
    if family.packed:
        return _call_packed(network, x_t, time, tensors)
    given: dict[str, Any] = {n: tensor for n, tensor in tensors.items() if n not in family.added}
    if family.added:
        given["added_cond_kwargs"] = {name: tensors.get(name) for name in family.added}
    return network(x_t, timestep=time, **given, return_dict=False)[0]


def _call_packed(network: Any, x_t: Tensor, time: Tensor, tensors: Encoded) -> Tensor:
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
