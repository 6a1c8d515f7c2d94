"""Prompts -> what each family's network is given: the stock pipeline's own `encode_prompt`.

Every function of `ENCODE` takes a pipeline that holds the text encoders alone and returns tensors
with one row per prompt. Those of `TELL`, of the families whose network is told more than the
prompt, return what goes along with all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from efface.diffusion.text.families import TextFamily

Encoded = Mapping[str, Tensor]

# The stock FluxPipeline's default: the guidance that a distilled network is told to imitate.
DISTILLED_GUIDANCE = 3.5


def _encode_sd(pipeline: Any, prompts: list[str], family: TextFamily) -> Encoded:
    del family
    states, _ = pipeline.encode_prompt(prompts, pipeline.text_encoder.device, 1, False)
    return {"encoder_hidden_states": states}


def _encode_sdxl(pipeline: Any, prompts: list[str], family: TextFamily) -> Encoded:
    del family
    states, _, pooled, _ = pipeline.encode_prompt(
        prompts, device=pipeline.text_encoder.device, do_classifier_free_guidance=False
    )
    return {"encoder_hidden_states": states, "text_embeds": pooled}


def _encode_sd3(pipeline: Any, prompts: list[str], family: TextFamily) -> Encoded:
    states, _, pooled, _ = pipeline.encode_prompt(
        prompts,
        None,
        None,
        device=pipeline.text_encoder.device,
        do_classifier_free_guidance=False,
        max_sequence_length=family.longest,
    )
    return {"encoder_hidden_states": states, "pooled_projections": pooled}


def _encode_flux(pipeline: Any, prompts: list[str], family: TextFamily) -> Encoded:
    states, pooled, _ = pipeline.encode_prompt(
        prompts, device=pipeline.text_encoder.device, max_sequence_length=family.longest
    )
    return {"encoder_hidden_states": states, "pooled_projections": pooled}


def _encode_pixart(pipeline: Any, prompts: list[str], family: TextFamily) -> Encoded:
    states, mask, _, _ = pipeline.encode_prompt(
        prompts,
        do_classifier_free_guidance=False,
        device=pipeline.text_encoder.device,
        max_sequence_length=family.longest,
    )
    return {"encoder_hidden_states": states, "encoder_attention_mask": mask}


ENCODE: Mapping[str, Callable[[Any, list[str], TextFamily], Encoded]] = {
    "sd": _encode_sd,
    "sdxl": _encode_sdxl,
    "sd3": _encode_sd3,
    "flux": _encode_flux,
    "pixart_alpha": _encode_pixart,
    "pixart_sigma": _encode_pixart,
}


Size = tuple[float, float]  # (H, W) in pixels


def _tell_sdxl(network: Any, size: Size) -> Encoded:
    """Size of the original image, upper left corner of the crop, size that is asked for."""
    del network
    return {"time_ids": torch.tensor([*size, 0.0, 0.0, *size])}


def _tell_flux(network: Any, size: Size) -> Encoded:
    del size
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
