"""One interface to every network: guidance, conditions, copies."""

from __future__ import annotations

import diffusers
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from efface.diffusion.denoiser import Condition, Denoiser
from efface.diffusion.loading import build_denoiser
from efface.errors import ModelError, RequestError


@pytest.fixture(params=["unet", "dit"])
def denoiser(request, tiny_unet, tiny_dit) -> Denoiser:
    made = tiny_unet() if request.param == "unet" else tiny_dit()
    made.network.eval()
    return made


def noisy(denoiser: Denoiser, rows: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    t = torch.randint(1000, (rows,), generator=generator)
    return torch.randn(rows, *denoiser.sample_shape, generator=generator), t


def count_rows(denoiser: Denoiser) -> list[int]:
    """Rows of every call of the network from now on."""
    calls: list[int] = []
    denoiser.network.register_forward_hook(lambda _m, inputs, _o: calls.append(len(inputs[0])))
    return calls


@torch.no_grad()
@pytest.mark.parametrize("guidance", [0.0, 3.0, -1.5])
def test_guidance_equals_two_calls_combined_by_hand(denoiser, guidance):
    x_t, t = noisy(denoiser, 5)
    condition = denoiser.encode([0, 1, 2, 3, 9])
    null = torch.full((5,), 10)
    channels = x_t.shape[1]
    conditional = denoiser.network(x_t, t, class_labels=condition.tensors["class_labels"]).sample
    without = denoiser.network(x_t, t, class_labels=null).sample
    by_hand = (1 - guidance) * without + guidance * conditional
    output = denoiser(x_t, t, condition, guidance).output
    assert_close(output, by_hand[:, :channels], rtol=1e-4, atol=1e-5)
    assert (conditional - without).abs().max() > 1e-3  # the condition matters


@torch.no_grad()
def test_guidance_one_is_a_single_call_and_any_other_one_double_batch(denoiser):
    calls = count_rows(denoiser)
    x_t, t = noisy(denoiser, 3)
    condition = denoiser.encode([1, 2, 3])
    denoiser(x_t, t, condition)
    denoiser(x_t, t, condition, guidance=1.0)
    assert calls == [3, 3]
    denoiser(x_t, t, condition, guidance=2.0)
    assert calls == [3, 3, 6]


@torch.no_grad()
def test_prediction_is_that_of_the_schedule_at_the_rows_own_timesteps(denoiser):
    x_t, t = noisy(denoiser, 4)
    condition = denoiser.encode([1, 2, 3, 4])
    prediction = denoiser(x_t, t, condition)
    for row in range(4):
        alpha, sigma = denoiser.schedule.alphas[t[row]], denoiser.schedule.sigmas[t[row]]
        x0 = (x_t[row] - sigma * prediction.output[row]) / alpha
        assert_close(prediction.x0[row], x0, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_learned_variance_channels_are_cut(tiny_dit):
    denoiser = tiny_dit()
    x_t, t = noisy(denoiser, 2)
    labels = torch.tensor([4, 5])
    raw = denoiser.network(x_t, t, class_labels=labels).sample
    assert raw.shape == (2, 8, 4, 4)
    assert_close(denoiser(x_t, t, denoiser.encode([4, 5])).output, raw[:, :4], rtol=0, atol=0)


@torch.no_grad()
def test_labels_are_not_dropped_in_training_mode(tiny_dit):
    denoiser = tiny_dit()
    x_t, t = noisy(denoiser, 64)
    condition = denoiser.encode([7] * 64)
    expected = denoiser(x_t, t, condition).output
    denoiser.network.train()
    for seed in (0, 1):
        torch.manual_seed(seed)
        assert_close(denoiser(x_t, t, condition).output, expected)


@torch.no_grad()
def test_bfloat16_networks_predict_in_float32(tiny_unet):
    denoiser = tiny_unet()
    x_t, t = noisy(denoiser, 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert (
            denoiser.network(x_t, t, class_labels=torch.tensor([1, 2])).sample.dtype
            == torch.bfloat16
        )
        for guidance in (1.0, 2.0):
            prediction = denoiser(x_t, t, denoiser.encode([1, 2]), guidance)
            assert prediction.output.dtype == prediction.x0.dtype == torch.float32


def test_unconditional_models_take_no_guidance(tiny_unet):
    denoiser = tiny_unet(conditional=False)
    x_t, t = noisy(denoiser, 2)
    assert denoiser.encode([1, 2]) is None
    assert denoiser(x_t, t).output.shape == x_t.shape
    with pytest.raises(ModelError, match="guidance 2.0 needs a condition"):
        denoiser(x_t, t, None, guidance=2.0)
    with pytest.raises(ModelError, match="unconditional model takes no guidance"):
        denoiser.null(Condition({"class_labels": torch.zeros(2, dtype=torch.long)}))


def test_models_without_a_null_label_take_no_guidance(tiny_unet):
    full = tiny_unet()
    denoiser = build_denoiser(full.network, full.scheduler, num_classes=11)
    x_t, t = noisy(denoiser, 2)
    condition = denoiser.encode([1, 10])
    assert denoiser(x_t, t, condition).output.shape == x_t.shape
    with pytest.raises(ModelError, match="no null class"):
        denoiser(x_t, t, condition, guidance=2.0)
    with pytest.raises(ModelError, match="no null class"):
        denoiser.null(condition)


@pytest.mark.parametrize("label", [-1, 10, 12])
def test_unknown_labels_are_refused(tiny_unet, label):
    with pytest.raises(
        RequestError, match=f"label {label} is unknown: this model has labels 0 to 9"
    ):
        tiny_unet().encode([3, label])


def test_null_has_a_row_of_the_null_label_for_each_row(tiny_unet):
    denoiser = tiny_unet()
    null = denoiser.null(denoiser.encode([1, 2, 3]))
    assert null.tensors["class_labels"].tolist() == [10, 10, 10]


def test_copies_do_not_share_parameters(denoiser):
    copied = denoiser.clone()
    for own, other in zip(denoiser.network.parameters(), copied.network.parameters(), strict=True):
        assert_close(own, other, rtol=0, atol=0, check_stride=False)
        assert own.data_ptr() != other.data_ptr()
    x_t, t = noisy(denoiser, 2)
    condition = denoiser.encode([1, 2])
    before = denoiser(x_t, t, condition).output
    with torch.no_grad():
        for parameter in copied.network.parameters():
            parameter.add_(0.1)
    assert_close(denoiser(x_t, t, condition).output, before, rtol=0, atol=0)
    assert (copied(x_t, t, condition).output - before).abs().max() > 1e-3


def test_a_frozen_model_is_the_same_network_without_gradient(denoiser):
    denoiser.network.train().requires_grad_(True)
    frozen = denoiser.frozen()
    assert frozen.network is denoiser.network
    assert not any(module.training for module in frozen.network.modules())
    assert not any(p.requires_grad for p in frozen.network.parameters())


def test_copies_of_a_frozen_model_take_gradient(denoiser):
    copied = denoiser.frozen().clone()
    assert copied.network is not denoiser.network
    assert all(p.requires_grad for p in copied.network.parameters() if p.is_floating_point())
    assert not any(p.requires_grad for p in denoiser.network.parameters())


def test_gradient_flows_through_a_frozen_network_to_its_input(tiny_unet):
    frozen = tiny_unet().frozen()
    x_t, t = noisy(frozen, 2)
    x_t.requires_grad_()
    frozen(x_t, t, frozen.encode([1, 2])).x0.square().sum().backward()
    assert x_t.grad is not None
    # The direct path alone would be 2 x0 / alpha; the network's Jacobian must be there too.
    with torch.no_grad():
        alpha, _ = frozen.schedule.levels(t, x_t)
        direct = 2 * frozen(x_t, t, frozen.encode([1, 2])).x0 / alpha
    assert (x_t.grad - direct).abs().max() > 1e-3


def test_with_network_changes_the_network_alone(tiny_unet):
    denoiser, other = tiny_unet(), tiny_unet(seed=1)
    swapped = denoiser.with_network(other.network)
    assert swapped.network is other.network
    assert (swapped.schedule, swapped.kind) == (denoiser.schedule, denoiser.kind)
    assert swapped.num_classes == 10


def test_conditions_are_indexed_joined_and_chosen_by_row():
    first = Condition({"a": torch.arange(3), "b": torch.arange(6.0).view(3, 2)})
    second = Condition({"a": torch.arange(3) + 10, "b": -torch.ones(3, 2)})
    both = Condition.cat([first, second])
    assert len(both) == 6
    assert both[2:4].tensors["a"].tolist() == [2, 10]
    assert both[torch.tensor([5, 0])].tensors["a"].tolist() == [12, 0]
    assert both.device == torch.device("cpu")
    mixed = first.where(torch.tensor([False, True, False]), second)
    assert mixed.tensors["a"].tolist() == [0, 11, 2]
    assert mixed.tensors["b"].tolist() == [[0, 1], [-1, -1], [4, 5]]


def test_unknown_prediction_types_are_refused(tiny_unet):
    network = tiny_unet().network
    scheduler = diffusers.UniPCMultistepScheduler(prediction_type="flow_prediction")
    with pytest.raises(ModelError, match="'flow_prediction' is unknown: allowed are epsilon"):
        build_denoiser(network, scheduler, 10, 10)
