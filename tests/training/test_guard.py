"""The collapse guard, and how the loop obeys it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from efface.diffusion.denoiser import Denoiser
from efface.methods.sfd import SFD
from efface.training import guard as guard_module
from efface.training.guard import SAMPLES_PER_CONDITION, CollapseGuard, energy_distance
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
