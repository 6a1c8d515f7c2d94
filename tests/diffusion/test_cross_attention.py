"""Which layers of a network read text, and what they are given."""

from __future__ import annotations

import pytest
import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from torch.testing import assert_close

from efface.diffusion.cross_attention import project_text, text_layers
from efface.errors import ModelError
from tests.text_pipelines import unet


def test_layers_are_the_keys_and_values_that_read_text() -> None:
    network = unet()
    layers = text_layers(network)
    named = [n for n, m in network.named_modules() if any(m is layer for layer in layers)]
    assert named and all(".attn2.to_" in name for name in named)
    others = [n for n, _ in network.named_modules() if n.endswith((".attn2.to_k", ".attn2.to_v"))]
    assert sorted(named) == sorted(others)
    assert all(layer.in_features == 16 for layer in layers)


def test_a_network_whose_attention_reads_no_text_is_refused() -> None:
    plain = nn.Sequential(Attention(8, heads=1), nn.Linear(8, 8))
    reads_images = Attention(8, cross_attention_dim=8, added_kv_proj_dim=16, heads=1)
    for network in (plain, reads_images):
        with pytest.raises(ModelError, match="no cross-attention that reads text"):
            text_layers(network)


def test_words_are_read_behind_the_projection_that_a_network_begins_with() -> None:
    network = unet(encoder_hid_dim=6, encoder_hid_dim_type="text_proj")
    states = torch.randn(3, 6)
    read = project_text(network, states)
    inputs: list[Tensor] = []
    layer = text_layers(network)[0]
    layer.register_forward_pre_hook(lambda _module, args: inputs.append(args[0]))
    network(torch.zeros(1, 4, 8, 8), 0, encoder_hidden_states=states[None])
    assert_close(read, inputs[0][0])
    assert project_text(unet(), states) is states
