"""Where a U-Net reads text: the key and value layers of its cross-attention."""

from typing import Any

from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from efface.errors import ModelError


def text_layers(network: nn.Module) -> list[nn.Linear]:
    """The key and value layers that read text; ModelError where there are none."""
    layers = [
        layer
        for module in network.modules()
        if isinstance(module, Attention) and module.is_cross_attention
        # With further layers for text, these two read the image.
        if module.added_kv_proj_dim is None
        for layer in (module.to_k, module.to_v)
        if layer is not None
    ]
    if not layers:
        raise ModelError(
            "this network has no cross-attention that reads text, which is what is edited: use a "
            "method that trains, as sfd."
        )
    return layers


def project_text(network: Any, states: Tensor) -> Tensor:
    """States of text (..., D) as the layers take them: some networks project them first."""
    project = network.encoder_hid_proj
    return states if project is None else project(states.to(project.weight))
