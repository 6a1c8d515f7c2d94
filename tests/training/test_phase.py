"""A trained network's update: what a mask excludes stays bit-identical."""

from __future__ import annotations

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from efface.errors import ConfigError
from efface.training.phase import Phase, make_phase
from efface.training.settings import TrainSettings


def make(rate: float = 1.0) -> Phase:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    settings = TrainSettings(learning_rate=0.1, weight_decay=0.5)
    return make_phase("student", network, rate, settings, Accelerator())


def step(phase: Phase, count: int = 1) -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        phase.optimizer.zero_grad(set_to_none=True)
        phase.raw(torch.randn(8, 4, generator=generator)).square().sum().backward()
        phase.update(0.1)


def test_masked_weights_stay_through_momentum_and_weight_decay() -> None:
    """Plain AdamW moves them: by its decay, and by what momentum remembers."""
    plain, masked = make(), make()
    before = {name: p.detach().clone() for name, p in masked.raw.named_parameters()}
    mask = torch.zeros(3, 4, dtype=torch.bool)
    mask[0] = True
    masked.set_masks({"0.weight": mask})
    for phase in (plain, masked):
        step(phase)
    after = dict(masked.raw.named_parameters())["0.weight"]
    other = dict(plain.raw.named_parameters())["0.weight"]
    assert after[1:].equal(before["0.weight"][1:])
    assert after[0].equal(other[0])  # the update is masked, nothing before it
    assert not other[1:].equal(before["0.weight"][1:])
    step(masked, 20)
    named = dict(masked.raw.named_parameters())
    assert named["0.weight"][1:].equal(before["0.weight"][1:])
    assert not named["0.weight"][0].equal(before["0.weight"][0])
    for name in ("0.bias", "1.weight", "1.bias"):
        assert not named[name].equal(before[name])


def test_without_masks_nothing_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    phase = make()
    step(phase)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a weight was copied")

    monkeypatch.setattr(torch.Tensor, "clone", refuse)
    phase.update(0.1)


def test_a_mask_of_no_parameter_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"student.*'nothing\.weight'"):
        make().set_masks({"nothing.weight": torch.ones(1, dtype=torch.bool)})


def test_a_network_learns_at_its_multiple_of_the_rate() -> None:
    phase = make(rate=3.0)
    step(phase)
    assert phase.optimizer.param_groups[0]["lr"] == pytest.approx(0.3)


@pytest.mark.parametrize("training", [None, False])
def test_active_means_gradient_and_train_mode_unless_given(training: bool | None) -> None:
    phase = make()
    phase.activate(False)
    assert not phase.raw.training and not any(p.requires_grad for p in phase.parameters)
    phase.activate(True, training=training)
    assert all(m.training == (training is None) for m in phase.raw.modules())
    assert all(p.requires_grad for p in phase.parameters)
