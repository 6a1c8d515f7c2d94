"""Bytes that live at once, and kernels of a device on tensors without one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from efface.diffusion.adapters import SharedNetwork
from efface.memory.live import Kernels, Live, tensors_of

MB = 4 * 250_000


def test_tensors_live_until_nothing_holds_them() -> None:
    given = torch.zeros(250_000)
    with Live([given]) as live:
        first = torch.zeros(250_000)
        view = first.view(500, 500)[:10]
        assert live.now == 2 * MB  # a view has no bytes of its own
        del first
        assert live.now == 2 * MB
        del view
        assert live.now == MB
        torch.zeros(500_000)
        given.add_(1)
    assert (live.given, live.now, live.peak) == (MB, MB, 3 * MB)


def test_tensors_without_a_device_have_bytes_too() -> None:
    with torch.device("meta"), Live() as live:
        kept = torch.zeros(10**12) + 1
    assert live.peak == 2 * live.now == 2 * kept.nbytes == 8 * 10**12


def test_a_backward_pass_is_seen() -> None:
    """Of y = sum(x^2) with an x of 1 MB: x^2, then 2 x and the gradient of the sum."""
    x = torch.zeros(250_000, requires_grad=True)
    with Live([x]) as live:
        y = x.square().sum()
        kept = live.now - live.given
        (gradient,) = torch.autograd.grad(y, x)
    assert kept == 4
    assert live.now - live.given == pytest.approx(gradient.nbytes, abs=16)
    assert MB <= live.peak - live.given <= 3 * MB + 16


def test_a_shared_network_has_its_base_among_its_tensors() -> None:
    base = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    tensors = [*base.parameters(), *base.buffers()]
    view = SharedNetwork(base)
    assert not list(view.buffers())
    assert {id(tensor) for tensor in tensors_of(view)} >= {id(tensor) for tensor in base.buffers()}
    assert len(tensors_of(view)) == len(tensors)


def test_attention_never_makes_the_matrix_of_all_pairs() -> None:
    """As fused kernels: 4096 tokens, whose pairs would have 64 MB."""
    with torch.device("meta"), Live() as live, Kernels():
        tokens = torch.zeros(1, 1, 4096, 8)
        attended = F.scaled_dot_product_attention(tokens, key=tokens, value=tokens)
    assert attended.shape == tokens.shape
    assert live.peak < 10 * tokens.nbytes < 4096**2


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_values_pass_in_the_precision_of_autocast(device: str) -> None:
    """As the real one on the CPU; on a GPU norms are passed in float32."""
    network = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    x = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    with Kernels(device):
        output = network(x)
    assert output.dtype == (torch.bfloat16 if device == "cpu" else torch.float32)
    with Kernels():
        assert network(x).dtype == torch.float32
    if device == "cpu":
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(output, network(x))


def test_a_trained_weight_is_cast_once_and_a_frozen_one_at_each_use() -> None:
    trained = nn.Linear(256, 256, bias=False)
    frozen = nn.Linear(256, 256, bias=False).requires_grad_(False)
    kernels = Kernels("cpu")
    with kernels:
        for _ in range(2):
            trained(torch.zeros(1, 256))
            frozen(torch.zeros(1, 256))
    assert kernels.casts is not None and list(kernels.casts) == [trained.weight]
    with Live(kernels.casts.values()) as live, kernels:
        trained(torch.zeros(1, 256))
    assert live.peak - live.given < trained.weight.nbytes / 2  # no further copy in bfloat16


def test_a_checkpointed_block_is_passed_again_by_the_same_kernels() -> None:
    """Its activations go with the forward pass, and the backward pass makes them anew."""
    block, kernels = nn.Sequential(*(nn.Linear(64, 64) for _ in range(8))), Kernels("cpu")
    x = torch.zeros(1000, 64, requires_grad=True)
    taken = {}
    for checkpointed in (False, True):
        with Live([x, *block.parameters()]) as live:
            with kernels:
                output = kernels.checkpointed()(block, x) if checkpointed else block(x)
            kernels.casts = None
            kept = live.now - live.given
            torch.autograd.grad(output.float().sum(), x)
        taken[checkpointed] = kept, live.peak - live.given
    assert taken[True][0] < taken[False][0] / 4
    assert taken[True][1] > 2 * taken[True][0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("wanted", [(True, True, True), (True, False, False)])
def test_norms_without_a_device_have_the_tensors_of_real_ones(
    dtype: torch.dtype, wanted: tuple[bool, bool, bool]
) -> None:
    aten = torch.ops.aten

    def passed(device: str) -> list[Any]:
        x, weight = (torch.ones(*s, device=device, dtype=dtype) for s in ((3, 8, 4, 5), (8,)))
        row = torch.ones(5, device=device, dtype=dtype)
        with Live():
            out, mean, rstd = aten.native_group_norm.default(x, weight, weight, 3, 8, 20, 2, 1e-5)
            sizes = (3, 8, 20, 2, wanted)
            back = aten.native_group_norm_backward.default(out, x, mean, rstd, weight, *sizes)
            own = aten.native_layer_norm.default(x, (5,), row, row, 1e-5)
            given = (own[0], x, (5,), *own[1:], row, row, wanted)
            own_back = aten.native_layer_norm_backward.default(*given)
        made = [out, mean, rstd, *back, *own_back]
        return [None if t is None else (t.shape, t.dtype, t.stride()) for t in made]

    assert passed("meta") == passed("cpu")
