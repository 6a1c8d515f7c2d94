"""The loop: what it holds, what it leaves alone, and resuming."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from efface.diffusion.denoiser import Denoiser
from efface.errors import ConfigError, Stopped
from efface.methods.sfd import SFD
from efface.training.checkpoint import Progress
from efface.training.networks import make_networks
from efface.training.settings import TrainSettings
from efface.training.trainer import Trainer, TrainResult
from tests.tiny import make_tiny_unet

Make = Callable[..., Denoiser]
MakeTrainer = Callable[..., Trainer]
Weights = Callable[[Denoiser], Tensor]


def buffers_of(size: int, tensors: Iterable[Tensor]) -> float:
    """How many times `size` bytes the tensors hold; what shares its memory counts once."""
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values()) / size


def test_sfd_holds_four_networks_and_ten_buffers_after_a_step(
    make_trainer: MakeTrainer, tiny_unet: Make, tmp_path: Path
) -> None:
    """The model and its teacher in one; fake score, student, average; gradients and two moments."""
    pretrained = tiny_unet()
    trainer = make_trainer(pretrained, tmp_path)
    size = sum(p.numel() * p.element_size() for p in pretrained.network.parameters())

    def held() -> float:
        modules = [d.network for d in (pretrained, *trainer.networks.values())]
        tensors: list[Tensor] = [
            p for module in (*modules, trainer.average.module) for p in module.parameters()
        ]
        tensors += [p.grad for p in tensors if p.grad is not None]
        for phase in trainer.stepper.phases.values():
            for state in phase.optimizer.state.values():
                tensors += [state["exp_avg"], state["exp_avg_sq"]]
        return buffers_of(size, tensors)

    trainer.stepper.prepare()
    assert held() == 4
    trainer.step(0)
    assert held() == 10


def test_with_adapters_there_is_one_network_whatever_the_method_copies(tiny_unet: Make) -> None:
    pretrained = tiny_unet()
    networks = make_networks(SFD(), pretrained, TrainSettings(lora_rank=4))
    modules = [d.network for d in (pretrained, *networks.values())]
    size = sum(p.numel() * p.element_size() for p in pretrained.network.parameters())
    assert 1 < buffers_of(size, [p for module in modules for p in all_parameters(module)]) < 1.5


def all_parameters(module: torch.nn.Module) -> list[Tensor]:
    """A shared network names its adapter's parameters alone: here are those of its base too."""
    return [p for part in module.modules() for p in part._parameters.values() if p is not None]


def test_the_teacher_is_the_pretrained_network_itself(tiny_unet: Make) -> None:
    pretrained = tiny_unet()
    networks = SFD().networks(pretrained)
    assert networks["teacher"].network is pretrained.network
    for name in ("fake_score", "student"):
        assert networks[name].network is not pretrained.network
        assert all(p.requires_grad for p in networks[name].network.parameters())


def test_global_random_states_are_the_callers_afterwards(
    make_trainer: MakeTrainer, tiny_unet: Make, tmp_path: Path
) -> None:
    trainer = make_trainer(tiny_unet(dropout=0.5), tmp_path)
    torch.manual_seed(123)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    trainer.run()
    assert torch.get_rng_state().equal(before[0])
    assert np.random.get_state()[1].tolist() == before[1]
    assert random.getstate() == before[2]


def test_dropout_run_is_the_same_run_twice(
    make_trainer: MakeTrainer, weights: Weights, tiny_unet: Make, tmp_path: Path
) -> None:
    first = make_trainer(tiny_unet(dropout=0.3), tmp_path / "a").run()
    torch.randn(17)  # the global generator is not what a run depends on
    second = make_trainer(tiny_unet(dropout=0.3), tmp_path / "b").run()
    assert weights(first.denoiser).equal(weights(second.denoiser))


def test_parts_that_do_not_divide_the_batch_are_refused(
    make_trainer: MakeTrainer, tiny_unet: Make, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"train\.batch_size.* 8 .* 3 parts"):
        make_trainer(tiny_unet(), tmp_path, accumulation=3)


def test_speed_counts_the_rows_of_both_sides(plain_run: tuple[TrainResult, Path]) -> None:
    result, _ = plain_run
    assert result.images_per_second * result.seconds == pytest.approx(3 * (8 + 4))


@pytest.mark.gpu
def test_compiled_bf16_channels_last_run_on_a_gpu(
    make_trainer: MakeTrainer, tiny_unet: Make, tmp_path: Path
) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    trainer = make_trainer(
        tiny_unet(), tmp_path, compile=True, mixed_precision="bf16", channels_last=True
    )
    assert trainer.run().steps == 3


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_resumed_run_is_the_same_run(
    channels_last: bool,
    make_trainer: MakeTrainer,
    weights: Weights,
    stopping_at: Callable[[int], Callable[[int], None]],
    tiny_unet: Make,
    tmp_path: Path,
) -> None:
    """Optimizer states have to come back in the layout of their parameters."""
    settings = {"channels_last": channels_last, "steps": 4, "checkpoint_every": 2}
    whole = make_trainer(tiny_unet(), tmp_path / "whole", **settings).run()
    with pytest.raises(KeyboardInterrupt):
        make_trainer(tiny_unet(), tmp_path / "parts", **settings).run(on_step=stopping_at(2))
    parts = make_trainer(tiny_unet(), tmp_path / "parts", **settings).run(resume=True)
    assert weights(parts.denoiser).equal(weights(whole.denoiser))


LONGER = {"steps": 5, "guard_every": 2, "batch_size": 4}


@pytest.fixture(scope="module")
def longer(
    make_trainer: MakeTrainer, weights: Weights, tmp_path_factory: pytest.TempPathFactory
) -> Tensor:
    """The weights after a run without interruption."""
    folder = tmp_path_factory.mktemp("runs") / "longer"
    return weights(make_trainer(make_tiny_unet(), folder, **LONGER).run().denoiser)


@pytest.mark.parametrize(
    ("number", "last"), [(signal.SIGINT, 1), (signal.SIGTERM, 2), (signal.SIGTERM, 4)]
)
def test_a_signal_is_answered_by_a_checkpoint_and_the_way_to_go_on(
    number: signal.Signals,
    last: int,
    longer: Tensor,
    make_trainer: MakeTrainer,
    weights: Weights,
    tiny_unet: Make,
    tmp_path: Path,
) -> None:
    """Signals come within a step, as `on_step` does after the step before it."""

    def send(step: int) -> None:
        if step == last:
            os.kill(os.getpid(), number)

    stopped = make_trainer(tiny_unet(), tmp_path, **LONGER)
    with pytest.raises(Stopped, match=f"stopped at step {last + 1}; add --resume") as error:
        stopped.run(on_step=send)
    assert error.value.signal == number
    assert stopped.checkpoints.steps() == [last + 1]
    parts = make_trainer(tiny_unet(), tmp_path, **LONGER).run(resume=True)
    assert weights(parts.denoiser).equal(longer)


def test_checkpoints_come_by_time_where_no_number_of_steps_is_set(
    make_trainer: MakeTrainer, tiny_unet: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One as soon as two minutes have passed; longer where writing takes more than a tenth."""
    written: list[int] = []
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 1e-3
        return now

    def step(count: int) -> None:
        nonlocal now
        now += 50

    def save(objects: object, progress: Progress) -> None:
        nonlocal now
        written.append(progress.step)
        now += 20

    monkeypatch.setattr(time, "perf_counter", clock)
    trainer = make_trainer(tiny_unet(), tmp_path, steps=14, batch_size=2)
    monkeypatch.setattr(trainer, "step", lambda step: {})  # only when it is kept matters here
    monkeypatch.setattr(trainer.checkpoints, "save", save)
    trainer.run(on_step=step)
    assert written == [4, 9, 14]  # after 120 seconds, then after ten times 20


def test_more_steps_on_resume_are_those_of_a_longer_run(
    longer: Tensor,
    make_trainer: MakeTrainer,
    weights: Weights,
    tiny_unet: Make,
    tmp_path: Path,
) -> None:
    make_trainer(tiny_unet(), tmp_path, **(LONGER | {"steps": 3})).run()
    again = make_trainer(tiny_unet(), tmp_path, **LONGER).run(resume=True)
    assert weights(again.denoiser).equal(longer)
