"""One step: invariances, precision, dropout, clipping, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from efface.diffusion.denoiser import Denoiser
from efface.errors import RunError
from efface.methods.sfd import SFD
from efface.training.trainer import Trainer, TrainResult

Make = Callable[..., Denoiser]
MakeTrainer = Callable[..., Trainer]
Weights = Callable[[Denoiser], Tensor]
LogOf = Callable[[Path], list[dict[str, float]]]
PlainRun = tuple[TrainResult, Path]


def test_accumulation_changes_nothing(
    plain_run: PlainRun,
    make_trainer: MakeTrainer,
    weights: Weights,
    log_of: LogOf,
    tiny_unet: Make,
    tmp_path: Path,
) -> None:
    whole, folder = plain_run
    parts = make_trainer(tiny_unet(), tmp_path / "parts", accumulation=4).run()
    for a, b in zip(log_of(folder), log_of(tmp_path / "parts"), strict=True):
        for name in ("fake_score_retain_loss", "student_retain_loss", "student_forget_loss"):
            assert a[name] == pytest.approx(b[name], rel=1e-5, abs=1e-5)
    assert_close(weights(whole.denoiser), weights(parts.denoiser), rtol=0, atol=1e-4)


def test_accumulation_works_with_a_shared_student_pass(
    make_trainer: MakeTrainer, log_of: LogOf, tiny_unet: Make, tmp_path: Path
) -> None:
    method = SFD(forget_share=0.5, share_student_pass=True)
    make_trainer(tiny_unet(), tmp_path / "whole", method, steps=2).run()
    make_trainer(tiny_unet(), tmp_path / "parts", method, steps=2, accumulation=2).run()
    for a, b in zip(log_of(tmp_path / "whole"), log_of(tmp_path / "parts"), strict=True):
        assert a["student_retain_loss"] == pytest.approx(
            b["student_retain_loss"], rel=1e-5, abs=1e-5
        )


def test_bf16_keeps_float32_weights_and_about_the_same_losses(
    plain_run: PlainRun, make_trainer: MakeTrainer, log_of: LogOf, tiny_unet: Make, tmp_path: Path
) -> None:
    trainer = make_trainer(tiny_unet(), tmp_path / "bf16", steps=1, mixed_precision="bf16")
    result = trainer.run()
    assert all(p.dtype == torch.float32 for p in result.denoiser.network.parameters())
    a, b = log_of(plain_run[1])[0], log_of(tmp_path / "bf16")[0]
    assert a["fake_score_retain_loss"] != b["fake_score_retain_loss"]  # bf16 was really used
    assert a["fake_score_retain_loss"] == pytest.approx(b["fake_score_retain_loss"], rel=0.05)


def test_gradient_checkpointing_changes_nothing(
    plain_run: PlainRun,
    make_trainer: MakeTrainer,
    weights: Weights,
    tiny_unet: Make,
    tmp_path: Path,
) -> None:
    saved = make_trainer(tiny_unet(), tmp_path / "saved", gradient_checkpointing=True).run()
    assert_close(weights(plain_run[0].denoiser), weights(saved.denoiser), rtol=0, atol=1e-5)


def test_dropout_is_active_in_the_trained_network_only(
    make_trainer: MakeTrainer, tiny_unet: Make, tmp_path: Path
) -> None:
    """Student in the student phase, fake score in its own: sfd 1.5."""
    trainer = make_trainer(tiny_unet(dropout=0.5), tmp_path)
    for phase, other in (("fake_score", "student"), ("student", "fake_score")):
        trainer.stepper.activate(phase)
        assert trainer.networks[phase].network.training
        assert not trainer.networks[other].network.training
        assert not trainer.networks["teacher"].network.training
        assert not any(p.requires_grad for p in trainer.networks[other].network.parameters())


@pytest.mark.parametrize("clip", [{"clip_value": 1e-6}, {"clip_norm": 1e-6}])
def test_clipping_bounds_the_gradient(
    clip: dict[str, float], make_trainer: MakeTrainer, tiny_unet: Make, tmp_path: Path
) -> None:
    trainer = make_trainer(tiny_unet(), tmp_path, steps=1, **clip)
    trainer.run()
    parameters = trainer.stepper.phases["student"].parameters
    gradients = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
    if "clip_value" in clip:
        assert gradients.abs().max() <= 1e-6
        assert (gradients.abs() == 1e-6).float().mean() > 0.5
    else:
        assert gradients.norm() == pytest.approx(1e-6, rel=1e-2)


@pytest.mark.parametrize("phase", ["fake_score", "student"])
def test_not_finite_stops_before_the_update_and_names_it(
    phase: str, make_trainer: MakeTrainer, weights: Weights, tiny_unet: Make, tmp_path: Path
) -> None:
    trainer = make_trainer(tiny_unet(), tmp_path)
    parameter = trainer.stepper.phases[phase].parameters[0]
    with torch.no_grad():
        parameter.view(-1)[0] = float("nan")
    before = weights(trainer.networks[phase])
    with pytest.raises(RunError, match=r"fake_score is nan at step 0"):
        trainer.run()
    assert before.nan_to_num().equal(weights(trainer.networks[phase]).nan_to_num())


def test_fake_score_learns_at_its_multiple_of_the_rate(
    make_trainer: MakeTrainer, tiny_unet: Make, tmp_path: Path
) -> None:
    trainer = make_trainer(tiny_unet(), tmp_path, steps=1)
    trainer.run()
    phases = trainer.stepper.phases
    rates = {name: p.optimizer.param_groups[0]["lr"] for name, p in phases.items()}
    assert rates == pytest.approx({"fake_score": 3e-3, "student": 1e-3})
