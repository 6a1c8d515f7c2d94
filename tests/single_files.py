"""A Stable Diffusion pipeline as the one file of user interfaces: the names of the LDM code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
TOP = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
VAE = {
    "conv_norm_out": "norm_out",
    "mid_block.resnets.0": "mid.block_1",
    "mid_block.resnets.1": "mid.block_2",
    "mid_block.attentions.0": "mid.attn_1",
    "conv_shortcut": "nin_shortcut",
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}


def write_single_file(pipeline: Any, path: Path) -> Path:
    """All weights of a Stable Diffusion 1 pipeline in one file."""
    tensors: dict[str, Tensor] = {}
    layers = pipeline.unet.config.layers_per_block
    for name, tensor in pipeline.unet.state_dict().items():
        tensors[f"model.diffusion_model.{unet_name(name, layers)}"] = tensor
    blocks = len(pipeline.vae.config.block_out_channels)
    for name, tensor in pipeline.vae.state_dict().items():
        called = vae_name(name, blocks)
        one_by_one = ".attn_1." in called and tensor.ndim == 2
        tensors[f"first_stage_model.{called}"] = tensor[..., None, None] if one_by_one else tensor
    for name, tensor in pipeline.text_encoder.state_dict().items():
        prefix = "" if name.startswith("text_model.") else "text_model."
        tensors[f"cond_stage_model.transformer.{prefix}{name}"] = tensor
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, path)
    return path


def unet_name(name: str, layers: int) -> str:
    for own, other in TOP.items():
        if name.startswith(own + "."):
            return other + name.removeprefix(own)
    if found := re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", name):
        kind, number, rest = found.groups()
        place = 1 if kind == "attentions" else 2 * int(number)
        return f"middle_block.{place}.{resnet(rest) if kind == 'resnets' else rest}"
    found = re.match(r"(down|up)_blocks\.(\d)\.(\w+)\.(\d)\.(.*)", name)
    assert found is not None, name
    side, block, kind, layer, rest = found.groups()
    down, first = side == "down", (layers + 1) * int(block)
    number = first + int(layer) + (1 if down else 0)
    where = "input_blocks" if down else "output_blocks"
    if kind == "downsamplers":
        return f"{where}.{first + layers + 1}.0.op.{rest.removeprefix('conv.')}"
    if kind == "upsamplers":  # of the tiny networks the block with one has no attention
        return f"{where}.{first + layers}.1.{rest}"
    return f"{where}.{number}.{0 if kind == 'resnets' else 1}." + (
        resnet(rest) if kind == "resnets" else rest
    )


def resnet(rest: str) -> str:
    part, _, tail = rest.partition(".")
    return f"{RESNET[part]}.{tail}"


def vae_name(name: str, blocks: int) -> str:
    def up(found: re.Match[str]) -> str:
        return f"up.{blocks - 1 - int(found[1])}."

    name = re.sub(r"up_blocks\.(\d)\.", up, name)
    name = re.sub(r"down_blocks\.(\d)\.", r"down.\1.", name)
    name = name.replace("downsamplers.0", "downsample").replace("upsamplers.0", "upsample")
    for own, other in VAE.items():
        name = name.replace(own, other)
    return re.sub(r"resnets\.(\d)", r"block.\1", name)
