"""Adapters over one shared base: what they hold, what they compute, what they leave alone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.testing import assert_close

from efface.diffusion.adapters import SharedNetwork, attention_of, share_network
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.loading import build_denoiser
from efface.diffusion.text.denoiser import TextDenoiser
from efface.errors import ConfigError
from efface.methods.sfd import SFD
from efface.training.checkpoint import MovingAverage
from efface.training.networks import make_networks
from efface.training.settings import TrainSettings

Make = Callable[..., TextDenoiser]
ROWS = 3
SLOW = pytest.mark.slow
KINDS = ("sd3", "flux", pytest.param("sd", marks=SLOW), pytest.param("pixart_alpha", marks=SLOW))
PROMPTS = ["a cat", "two bags", "red"]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def storages(modules: Iterable[nn.Module]) -> set[int]:
    tensors = [t for m in modules for t in m.modules() for t in t._parameters.values()]
    return {t.data_ptr() for t in tensors if t is not None}


def shaken(denoiser: Denoiser, rank: int = 2, alpha: float = 3.0, seed: int = 0) -> Denoiser:
    """A view with a LoRA that changes something."""
    assert isinstance(denoiser.network, SharedNetwork)
    view = denoiser.network.adapted(attention_of(denoiser), rank, alpha, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in view.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return denoiser.with_network(view)


def output(denoiser: Denoiser, x: Tensor, time: int = 500) -> Tensor:
    t = torch.full((len(x),), time)
    return denoiser(x, t, denoiser.encode(PROMPTS[: len(x)])).output


def noise(denoiser: Denoiser) -> Tensor:
    generator = torch.Generator().manual_seed(9)
    return torch.randn(ROWS, *denoiser.sample_shape, generator=generator)


def test_three_networks_and_the_average_hold_the_base_once(text_model: Make) -> None:
    pretrained = share_network(text_model("sdxl", fresh=True))
    networks = make_networks(SFD(), pretrained, TrainSettings(lora_rank=4))
    average = MovingAverage(networks["student"].network, 0.5, False)
    modules = [pretrained.network, average.module, *(d.network for d in networks.values())]
    base = storages([pretrained.network])
    assert [len(list(m.parameters())) for m in modules] == [0, 64, 0, 64, 64]
    assert len(storages(modules)) == len(base) + 3 * 64
    assert all(storages([module]) >= base for module in modules)


def test_a_fresh_adapter_changes_nothing(kind: str, text_model: Make) -> None:
    plain = text_model(kind)
    networks = make_networks(
        SFD(), share_network(plain), TrainSettings(lora_rank=2, lora_alpha=8.0)
    )
    x = noise(plain)
    for denoiser in networks.values():
        assert_close(output(denoiser, x), output(plain, x), rtol=0, atol=0)


def gradients(denoisers: dict[str, Denoiser], x: Tensor) -> dict[str, dict[str, Tensor]]:
    """Of a loss in which the teacher and the fake score judge what the student draws."""
    drawn = output(denoisers["student"], x)
    # In turns, so that whatever one pass left behind would reach the next.
    teacher, fake = output(denoisers["teacher"], drawn), output(denoisers["fake_score"], drawn, 200)
    again = output(denoisers["student"], teacher, 100)
    (again * fake + teacher.square()).sum().backward()
    trained = {n: d.network for n, d in denoisers.items() if n != "teacher"}
    return {
        name: {key: p.grad for key, p in network.named_parameters() if p.grad is not None}
        for name, network in trained.items()
    }


def views(denoiser: TextDenoiser) -> dict[str, Denoiser]:
    shared = share_network(denoiser)
    trained = {"student": shaken(shared, seed=1), "fake_score": shaken(shared, seed=2)}
    return {"teacher": shared, **trained}


def test_gradients_are_those_of_whole_networks_by_the_chain_rule(
    kind: str, text_model: Make
) -> None:
    """W = W0 + s B A, so dL/dA = s B' dL/dW and dL/dB = s dL/dW A'."""
    denoiser = text_model(kind, fresh=True)
    adapted, x = views(denoiser), noise(denoiser)
    whole = {}
    for name, view in adapted.items():
        assert isinstance(view.network, SharedNetwork)
        network = copy.deepcopy(view.network.fused(denoiser.network))
        whole[name] = denoiser.with_network(network.requires_grad_(name != "teacher"))
    own, of_weights = gradients(adapted, x), gradients(whole, x)
    for name in ("student", "fake_score"):
        tensors = adapted[name].network.state_dict()
        scale = max(float(g.abs().max()) for g in own[name].values())
        for key, tensor in tensors.items():
            layer, factor = key.removeprefix("tree.").rsplit(".lora_", 1)
            weight = of_weights[name][f"{layer}.weight"]
            if factor.startswith("A"):
                expected = 1.5 * tensors[key.replace("lora_A", "lora_B")].T @ weight
            else:
                expected = 1.5 * weight @ tensors[key.replace("lora_B", "lora_A")].T
            assert expected.shape == tensor.shape
            assert_close(own[name][key], expected, rtol=1e-3, atol=2e-5 * scale)


def test_gradients_are_the_same_with_checkpointing(kind: str, text_model: Make) -> None:
    kept = gradients(views(text_model(kind, fresh=True)), noise(text_model(kind)))
    denoisers = views(text_model(kind, fresh=True))
    for denoiser in denoisers.values():
        denoiser.network.enable_gradient_checkpointing()  # pyright: ignore
    passed_again = gradients(denoisers, noise(text_model(kind)))
    for name, tensors in kept.items():
        for key, tensor in tensors.items():
            assert_close(passed_again[name][key], tensor, rtol=0, atol=0)


def test_copies_have_values_of_their_own_over_the_same_base(text_model: Make) -> None:
    first = shaken(share_network(text_model("sd", fresh=True)))
    second = first.clone()
    x = noise(first)
    before = output(first, x)
    assert_close(output(second, x), before, rtol=0, atol=0)
    with torch.no_grad():
        for parameter in second.network.parameters():
            parameter.add_(1.0)
    assert_close(output(first, x), before, rtol=0, atol=0)
    assert (output(second, x) - before).abs().max() > 1e-3
    assert first.frozen().network is first.network
    assert not any(p.requires_grad for p in first.network.parameters())
    assert all(p.requires_grad for p in first.clone().network.parameters())


def test_state_is_the_adapters_alone_and_goes_round(text_model: Make) -> None:
    shared = share_network(text_model("flux", fresh=True))
    one, other = shaken(shared, seed=1), shaken(shared, seed=2)
    state = one.network.state_dict()
    assert state.keys() == {name for name, _ in one.network.named_parameters()}
    assert all(".lora_" in name for name in state)
    other.network.load_state_dict(state)
    assert_close(output(other, noise(one)), output(one, noise(one)), rtol=0, atol=0)
    assert not list(one.network.buffers())
    with pytest.raises(RuntimeError):
        shaken(shared, rank=4).network.load_state_dict(state)


def test_fusing_adds_the_adapter_and_leaves_the_base_alone(kind: str, text_model: Make) -> None:
    plain = text_model(kind, fresh=True)
    before = {name: p.clone() for name, p in plain.network.named_parameters()}
    adapted = shaken(share_network(plain))
    assert isinstance(adapted.network, SharedNetwork)
    fused = plain.with_network(adapted.network.fused(adapted.network.base()))
    assert type(fused.network) is type(plain.network)
    assert fused.network.state_dict().keys() == plain.network.state_dict().keys()
    x = noise(plain)
    assert_close(output(fused, x), output(adapted, x), rtol=1e-4, atol=1e-5)
    assert (output(fused, x) - output(plain, x)).abs().max() > 1e-3
    assert all(p.equal(before[name]) for name, p in plain.network.named_parameters())


@pytest.mark.parametrize("kind", [pytest.param("sdxl", marks=SLOW), "sd3", "flux"])
def test_a_base_in_bfloat16_keeps_adapters_losses_and_gradients_in_float32(
    kind: str, text_model: Make
) -> None:
    """FLUX rounds the time to bfloat16 too, 0.08 here; 0.01 for the others."""
    plain = text_model(kind)
    half = plain.with_network(copy.deepcopy(plain.network))
    nn.Module.to(half.network, torch.bfloat16)
    adapted, x = shaken(share_network(half)), noise(plain)
    drawn = output(adapted, x)
    drawn.square().sum().backward()
    assert drawn.dtype == torch.float32
    assert {p.dtype for p in adapted.network.parameters()} == {torch.float32}
    assert {p.grad.dtype for p in adapted.network.parameters() if p.grad is not None} == {
        torch.float32
    }
    with torch.no_grad():
        exact = output(shaken(share_network(plain)), x)
        assert float((drawn - exact).norm() / exact.norm()) < 0.1


def test_class_and_unconditional_networks_take_adapters_in_their_attention(
    tiny_unet: Callable[..., Denoiser], tiny_dit: Callable[[], Denoiser]
) -> None:
    for plain in (tiny_unet(), tiny_dit()):
        denoiser = shaken(share_network(plain))
        assert isinstance(denoiser.network, SharedNetwork)
        x, t = noise(denoiser), torch.full((ROWS,), 500)
        condition = denoiser.encode([1, 2, 3])
        drawn, before = (d(x, t, condition).output for d in (denoiser, plain))
        fused = plain.with_network(denoiser.network.fused(plain.network))
        assert_close(fused(x, t, condition).output, drawn, rtol=1e-4, atol=1e-5)
        assert (drawn - before).abs().max() > 1e-4


def test_a_network_without_attention_is_refused() -> None:
    network = diffusers.UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        num_class_embeds=11,
        add_attention=False,
    )
    bare = share_network(build_denoiser(network, diffusers.DDIMScheduler(), 10, 10))
    with pytest.raises(ConfigError, match="no attention layers that a LoRA could change"):
        make_networks(SFD(), bare, TrainSettings(lora_rank=2))


class Watched(TorchFunctionMode):
    """Counts attention through the fused kernel, and what explicit attention would call."""

    def __init__(self) -> None:
        super().__init__()
        self.fused = self.explicit = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.fused += func is torch.nn.functional.scaled_dot_product_attention
        self.explicit += func.__name__ in ("softmax", "baddbmm")
        return func(*args, **(kwargs or {}))


def test_attention_goes_through_pytorchs_fused_kernel(
    kind: str, text_model: Make, tiny_unet: Callable[..., Denoiser]
) -> None:
    denoiser = text_model(kind, fresh=True)
    condition, t = denoiser.encode(PROMPTS), torch.full((ROWS,), 500)
    for each in (denoiser, shaken(share_network(denoiser))):
        blocks = [m for m in each.network.modules() if "to_q" in dict(m.named_children())]
        with Watched() as watched:
            each(noise(denoiser), t, condition)
        assert watched.fused == len(blocks) > 0
        assert watched.explicit == 0
    pixels = tiny_unet()
    with Watched() as watched:
        pixels(noise(pixels), t, pixels.encode([1, 2, 3]))
    assert watched.fused > 0 and watched.explicit == 0
