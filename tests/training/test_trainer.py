"""The loop: invariances, precision, clipping, averaging, what stops it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from efface.data.source import ConditionSource
from efface.diffusion.denoiser import Denoiser
from efface.errors import ConfigError, RunError
from efface.methods.sfd import SFD
from efface.training.averaging import MovingAverage
from efface.training.guard import CollapseGuard, energy_distance
from efface.training.trainer import TrainConfig, Trainer

Make = Callable[..., Denoiser]


def make_trainer(
    denoiser: Denoiser, folder: Path, method: SFD | None = None, **settings: Any
) -> Trainer:
    method = method or SFD(forget_share=0.5, student_forget_weight=1.0)
    config = TrainConfig(
        **({"steps": 3, "batch_size": 8, "learning_rate": 1e-3, "log_every": 1} | settings)
    )
    forget_rows = round(method.forget_share * config.batch_size)
    source = ConditionSource(
        table=denoiser.encode(range(10)),
        retain=list(range(1, 10)),
        forget=[0],
        replacements=[[1, 2]],
        retain_rows=config.batch_size,
        forget_rows=forget_rows,
        seed=config.seed,
    )
    folder.mkdir(exist_ok=True)
    return Trainer(method, method.networks(denoiser), source, config, folder, forget_rows)


def log_of(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def weights(denoiser: Denoiser) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in denoiser.network.parameters()])


def test_accumulation_changes_nothing(tiny_unet: Make, tmp_path: Path) -> None:
    whole = make_trainer(tiny_unet(), tmp_path / "whole").run()
    parts = make_trainer(tiny_unet(), tmp_path / "parts", accumulation=4).run()
    for a, b in zip(log_of(tmp_path / "whole"), log_of(tmp_path / "parts"), strict=True):
        for name in ("fake_score_retain_loss", "student_retain_loss", "student_forget_loss"):
            assert a[name] == pytest.approx(b[name], rel=1e-5, abs=1e-5)
    assert_close(weights(whole.denoiser), weights(parts.denoiser), rtol=0, atol=1e-4)


def test_accumulation_works_with_a_shared_student_pass(tiny_unet: Make, tmp_path: Path) -> None:
    method = SFD(forget_share=0.5, share_student_pass=True)
    make_trainer(tiny_unet(), tmp_path / "whole", method).run()
    make_trainer(tiny_unet(), tmp_path / "parts", method, accumulation=2).run()
    for a, b in zip(log_of(tmp_path / "whole"), log_of(tmp_path / "parts"), strict=True):
        assert a["student_retain_loss"] == pytest.approx(
            b["student_retain_loss"], rel=1e-5, abs=1e-5
        )


def test_bf16_keeps_float32_weights_and_about_the_same_losses(
    tiny_unet: Make, tmp_path: Path
) -> None:
    make_trainer(tiny_unet(), tmp_path / "float32", steps=1).run()
    trainer = make_trainer(tiny_unet(), tmp_path / "bf16", steps=1, mixed_precision="bf16")
    result = trainer.run()
    assert all(p.dtype == torch.float32 for p in result.denoiser.network.parameters())
    a, b = log_of(tmp_path / "float32")[0], log_of(tmp_path / "bf16")[0]
    assert a["fake_score_retain_loss"] != b["fake_score_retain_loss"]  # bf16 was really used
    assert a["fake_score_retain_loss"] == pytest.approx(b["fake_score_retain_loss"], rel=0.05)


def test_gradient_checkpointing_changes_nothing(tiny_unet: Make, tmp_path: Path) -> None:
    plain = make_trainer(tiny_unet(), tmp_path / "plain").run()
    saved = make_trainer(tiny_unet(), tmp_path / "saved", gradient_checkpointing=True).run()
    assert_close(weights(plain.denoiser), weights(saved.denoiser), rtol=0, atol=1e-5)


def test_dropout_is_active_in_the_trained_network_alone(tiny_unet: Make, tmp_path: Path) -> None:
    """Student in the student phase, fake score in its own: sfd 1.5."""
    trainer = make_trainer(tiny_unet(dropout=0.5), tmp_path)
    for phase, other in (("fake_score", "student"), ("student", "fake_score")):
        trainer._activate(phase)
        assert trainer.networks[phase].network.training
        assert not trainer.networks[other].network.training
        assert not trainer.networks["teacher"].network.training
        assert not any(p.requires_grad for p in trainer.networks[other].network.parameters())


def test_dropout_run_is_the_same_run_twice(tiny_unet: Make, tmp_path: Path) -> None:
    first = make_trainer(tiny_unet(dropout=0.3), tmp_path / "a").run()
    torch.randn(17)  # the global generator is not what a run depends on
    second = make_trainer(tiny_unet(dropout=0.3), tmp_path / "b").run()
    assert weights(first.denoiser).equal(weights(second.denoiser))


@pytest.mark.parametrize("clip", [{"clip_value": 1e-6}, {"clip_norm": 1e-6}])
def test_clipping_bounds_the_gradient(
    clip: dict[str, float], tiny_unet: Make, tmp_path: Path
) -> None:
    trainer = make_trainer(tiny_unet(), tmp_path, steps=1, **clip)
    trainer.run()
    gradients = torch.cat([p.grad.flatten() for p in trainer._trained["student"].parameters])
    if "clip_value" in clip:
        assert gradients.abs().max() <= 1e-6
        assert (gradients.abs() == 1e-6).float().mean() > 0.5
    else:
        assert gradients.norm() == pytest.approx(1e-6, rel=1e-2)


@pytest.mark.parametrize("phase", ["fake_score", "student"])
def test_not_finite_stops_before_the_update_and_names_it(
    phase: str, tiny_unet: Make, tmp_path: Path
) -> None:
    trainer = make_trainer(tiny_unet(), tmp_path)
    parameter = trainer._trained[phase].parameters[0]
    with torch.no_grad():
        parameter.view(-1)[0] = float("nan")
    before = weights(trainer.networks[phase])
    with pytest.raises(RunError, match=r"fake_score is nan at step 0"):
        trainer.run()
    assert before.nan_to_num().equal(weights(trainer.networks[phase]).nan_to_num())


def test_learning_rate_schedule() -> None:
    config = TrainConfig(
        steps=110, warmup_steps=10, learning_rate=1.0, learning_rate_schedule="cosine"
    )
    assert config.learning_rate_at(0) == pytest.approx(0.1)
    assert config.learning_rate_at(10) == 1.0
    assert config.learning_rate_at(60) == pytest.approx(0.5)
    assert config.learning_rate_at(110) == pytest.approx(0.0)


def test_fake_score_learns_at_its_multiple_of_the_rate(tiny_unet: Make, tmp_path: Path) -> None:
    trainer = make_trainer(tiny_unet(), tmp_path, steps=1)
    trainer.run()
    rates = {p: t.optimizer.param_groups[0]["lr"] for p, t in trainer._trained.items()}
    assert rates == pytest.approx({"fake_score": 3e-3, "student": 1e-3})


@pytest.mark.parametrize("ramp", [False, True])
def test_average_is_the_recursion_written_out(ramp: bool) -> None:
    module = torch.nn.Linear(2, 2, bias=False)
    average = MovingAverage(module, 0.9, ramp)
    expected = module.weight.detach().clone()
    for step in range(20):
        with torch.no_grad():
            module.weight += torch.randn(2, 2)
        average.update(step)
        decay = min(0.9, (1 + step) / (10 + step)) if ramp else 0.9
        expected = decay * expected + (1 - decay) * module.weight.detach()
    assert_close(average.module.weight.detach(), expected)


def test_parts_that_do_not_divide_the_batch_are_refused(tiny_unet: Make, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="train.batch_size is 8, which 3 parts"):
        make_trainer(tiny_unet(), tmp_path, accumulation=3)


def test_energy_distance_is_zero_in_expectation_for_one_distribution() -> None:
    generator = torch.Generator().manual_seed(0)
    values = [
        float(energy_distance(*torch.randn(2, 32, 5, generator=generator))) for _ in range(200)
    ]
    mean = sum(values) / len(values)
    assert abs(mean) < 0.01
    far = energy_distance(torch.randn(32, 5), 100 + torch.randn(32, 5))
    assert far > 2


def make_guarded(tiny_unet: Make, folder: Path, **settings: Any) -> Trainer:
    denoiser = tiny_unet()
    trainer = make_trainer(denoiser, folder, guard_every=2, ema_decay=0.0, **settings)
    conditions = denoiser.encode(range(1, 10))
    sampler = trainer.method.sampler(denoiser)
    trainer.guard = CollapseGuard(denoiser, sampler, conditions, 0, teacher_steps=3)
    return trainer


def test_guard_stops_a_collapsing_run_and_keeps_the_last_good_weights(
    tiny_unet: Make, tmp_path: Path
) -> None:
    start = weights(tiny_unet())
    trainer = make_guarded(tiny_unet, tmp_path, steps=40, learning_rate=1.0)
    result = trainer.run()
    assert result.collapsed is not None
    assert result.collapsed.startswith("collapse at step 4: ")
    assert result.steps == 4
    assert weights(result.denoiser).equal(start)  # nothing after the first check was good


def test_guard_leaves_a_run_without_learning_alone(tiny_unet: Make, tmp_path: Path) -> None:
    result = make_guarded(tiny_unet, tmp_path, steps=8, learning_rate=0.0).run()
    assert result.collapsed is None
    assert [entry["step"] for entry in result.guard] == [0, 2, 4, 6, 8]
    assert len({entry["distance"] for entry in result.guard}) == 1


def test_compiled_run_is_a_setting_off_by_default() -> None:
    assert not TrainConfig().compile


@pytest.mark.gpu
def test_compiled_bf16_channels_last_run_on_a_gpu(tiny_unet: Make, tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    trainer = make_trainer(
        tiny_unet(), tmp_path, compile=True, mixed_precision="bf16", channels_last=True
    )
    assert trainer.run().steps == 3


def test_resume_in_channels_last_is_the_same_run(tiny_unet: Make, tmp_path: Path) -> None:
    """Optimizer states have to come back in the layout of their parameters."""
    settings = {"channels_last": True, "steps": 6, "checkpoint_every": 3}
    whole = make_trainer(tiny_unet(), tmp_path / "whole", **settings).run()

    class Stop(Exception):
        pass

    def stop(step: int) -> None:
        if step == 3:
            raise Stop

    with pytest.raises(Stop):
        make_trainer(tiny_unet(), tmp_path / "parts", **settings).run(on_step=stop)
    parts = make_trainer(tiny_unet(), tmp_path / "parts", **settings).run(resume=True)
    assert weights(parts.denoiser).equal(weights(whole.denoiser))
