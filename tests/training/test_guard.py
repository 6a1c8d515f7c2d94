"""The collapse guard, and how the loop obeys it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from efface.diffusion.denoiser import Condition, Denoiser
from efface.methods.sfd import SFD
from efface.training import guard as guard_module
from efface.training.guard import SAMPLES_PER_CONDITION, CollapseGuard, energy_distance, spread
from efface.training.trainer import Trainer

Make = Callable[..., Denoiser]


@pytest.fixture(autouse=True)
def _all_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_module, "SAMPLES_PER_CONDITION", SAMPLES_PER_CONDITION)


def test_energy_distance_is_zero_in_expectation_for_one_distribution() -> None:
    generator = torch.Generator().manual_seed(0)
    values = [
        float(energy_distance(*torch.randn(2, 32, 5, generator=generator))) for _ in range(200)
    ]
    mean = sum(values) / len(values)
    assert abs(mean) < 0.01
    far = energy_distance(torch.randn(32, 5), 100 + torch.randn(32, 5))
    assert far > 2


class Shrunk(nn.Module):
    """A network whose one-step samples lie at a share of the way from their common mean."""

    def __init__(self, denoiser: Denoiser, share: float) -> None:
        super().__init__()
        self.denoiser, self.share = denoiser, share

    def forward(self, x_t: Tensor, t: Tensor, **inputs: Any) -> tuple[Tensor]:
        alpha, sigma = self.denoiser.schedule.levels(t, x_t)
        x0 = self.denoiser(x_t, t, Condition({"class_labels": inputs["class_labels"]})).x0.clamp(
            -1, 1
        )
        mean = x0.mean(0)
        return ((x_t - alpha * (mean + self.share * (x0 - mean))) / sigma,)


@pytest.mark.parametrize(("left", "collapsed"), [(1.0, False), (0.8, False), (0.7, True)])
def test_lost_variety_is_a_collapse_though_samples_stay_where_they_are(
    tiny_unet: Make, left: float, collapsed: bool
) -> None:
    denoiser = tiny_unet()
    sampler = SFD().sampler(denoiser)
    guard = CollapseGuard(denoiser, sampler, denoiser.encode([1]), tolerance=1.0, patience=2)
    student = denoiser.with_network(Shrunk(denoiser, left / guard.check(denoiser).spread))
    assert guard.check(student).collapsed is None  # once may be chance
    check = guard.check(student)
    assert (check.collapsed is not None) == collapsed
    assert check.spread == pytest.approx(left, abs=5e-3)
    assert check.good == (left == 1.0)
    if collapsed:
        assert check.collapsed == "lost variety (spread 0.70 of the original model's, best 1.00)"
    restored = CollapseGuard(denoiser, sampler, denoiser.encode([1]))
    restored.restore(guard.tensors())
    assert (restored.best, restored.widest) == (guard.best, guard.widest)


def test_spread_is_the_mean_distance_of_two_samples() -> None:
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 8.0]])
    assert spread(x) == pytest.approx((5 + 8 + 5) / 3)


@pytest.fixture
def make_guarded(make_trainer: Callable[..., Trainer], tiny_unet: Make) -> Callable[..., Trainer]:
    def make(folder: Path, **settings: Any) -> Trainer:
        denoiser, method = tiny_unet(), SFD(forget_share=0.5, student_forget_weight=1.0)
        conditions = denoiser.encode(range(1, 10))
        guard = CollapseGuard(denoiser, method.sampler(denoiser), conditions, teacher_steps=3)
        more = {"guard_every": 2, "ema_decay": 0.0, "guard": guard} | settings
        return make_trainer(denoiser, folder, method, **more)

    return make


def test_guard_stops_a_collapsing_run_and_keeps_the_last_good_weights(
    make_guarded: Callable[..., Trainer],
    weights: Callable[[Denoiser], torch.Tensor],
    tiny_unet: Make,
    tmp_path: Path,
) -> None:
    start = weights(tiny_unet())
    result = make_guarded(tmp_path, steps=40, learning_rate=1.0).run()
    assert result.collapsed is not None
    assert result.collapsed.startswith("collapse at step 4: ")
    assert result.steps == 4
    assert weights(result.denoiser).equal(start)  # nothing after the first check was good
    again = make_guarded(tmp_path, steps=40, learning_rate=1.0).run(resume=True)
    assert (again.steps, again.collapsed) == (4, result.collapsed)
    assert weights(again.denoiser).equal(start)


def test_guard_leaves_a_run_without_learning_as_it_is(
    make_guarded: Callable[..., Trainer], tmp_path: Path
) -> None:
    result = make_guarded(tmp_path, steps=8, learning_rate=0.0).run()
    assert result.collapsed is None
    assert [entry["step"] for entry in result.guard] == [0, 2, 4, 6, 8]
    assert len({entry["distance"] for entry in result.guard}) == 1


def test_a_step_is_checked_once_even_if_the_run_is_resumed_there(
    make_guarded: Callable[..., Trainer],
    stopping_at: Callable[[int], Callable[[int], None]],
    tmp_path: Path,
) -> None:
    settings = {"steps": 6, "learning_rate": 0.0, "checkpoint_every": 2}
    with pytest.raises(KeyboardInterrupt):
        make_guarded(tmp_path, **settings).run(on_step=stopping_at(4))
    result = make_guarded(tmp_path, **settings).run(resume=True)
    assert [entry["step"] for entry in result.guard] == [0, 2, 4, 6]


def test_samples_that_are_not_numbers_count_as_bad(tiny_unet: Make) -> None:
    denoiser = tiny_unet()
    guard = CollapseGuard(
        denoiser, SFD().sampler(denoiser), denoiser.encode([1]), patience=1, teacher_steps=2
    )
    assert not guard.check(denoiser).collapsed
    broken = denoiser.clone()
    with torch.no_grad():
        next(broken.network.parameters()).fill_(float("nan"))
    assert guard.check(broken).collapsed
