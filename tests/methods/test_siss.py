"""SISS: its expectation is that of L_R and L_A, and splitting by arm changes nothing but cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.testing import assert_close

from efface.data.batch import ImageBank
from efface.data.source import PairSource
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.schedule import NoiseSchedule
from efface.methods.base import StepContext
from efface.methods.naive_deletion import NaiveDeletion
from efface.methods.siss import SISS
from efface.training.settings import TrainSettings
from efface.training.trainer import Trainer

Make = Callable[..., Denoiser]
Digits = Callable[[int], tuple[Tensor, Tensor]]
PairContext = Callable[..., StepContext]
METHODS = {
    **{f"siss {share}": SISS(mixture=share) for share in (0.1, 0.5, 0.9)},
    "siss, every row by itself": SISS(arms="bernoulli"),
    "siss, split": SISS(arm_split="always"),
}


@pytest.mark.parametrize("name", METHODS)
def test_gradients_are_unbiased(name: str, assert_unbiased: Callable[..., None]) -> None:
    assert_unbiased(METHODS[name], retain=1, forget=-1)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_splitting_by_arm_gives_the_same_gradients(
    prediction: str, tiny_unet: Make, digits: Digits, pair_context: PairContext, gradients: Any
) -> None:
    denoiser = tiny_unet(conditional=False, prediction=prediction)
    denoiser.network.train()
    x, a = digits(32)
    both = [
        gradients(SISS(arm_split=how).loss("student", pair_context(denoiser, x, a)), denoiser)
        for how in ("never", "always")
    ]
    for whole, split in zip(*both, strict=True):
        assert whole.norm() > 0
        assert (whole - split).norm() <= 1e-5 * whole.norm()


def passes(method: SISS, ctx: StepContext) -> tuple[float, float]:
    """Forwards' worth per row of one step, and the share of undecided rows."""
    rows = {"forward": 0, "backward": 0}
    network: Any = ctx.networks["student"].network
    last = network.conv_out
    handles = [
        last.register_forward_hook(
            lambda *args: rows.update(forward=rows["forward"] + len(args[2]))
        ),
        last.register_full_backward_hook(
            lambda *args: rows.update(backward=rows["backward"] + len(args[2][0]))
        ),
    ]
    terms = method.loss("student", ctx)
    assert terms.forget is not None
    terms.forget.backward(retain_graph=True)
    terms.retain.backward()
    for handle in handles:
        handle.remove()
    cost = (rows["forward"] + 2 * rows["backward"]) / ctx.batch.retain.size
    return cost, float(terms.logs.get("undecided", torch.tensor(0.0)))


def test_a_split_step_costs_3_plus_2u_forwards_instead_of_5(
    tiny_unet: Make, digits: Digits, pair_context: PairContext
) -> None:
    denoiser = tiny_unet(conditional=False)
    whole, _ = passes(SISS(arm_split="never"), pair_context(denoiser, *digits(64)))
    split, undecided = passes(SISS(arm_split="always"), pair_context(denoiser, *digits(64)))
    assert whole == 5
    assert 0.1 < undecided < 0.9
    assert split == pytest.approx(3 + 2 * undecided)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_one_arm_alone_is_finite_and_its_vanished_term_contributes_nothing(
    share: float, tiny_unet: Make, tmp_path: Path
) -> None:
    far = torch.full((8, 1, 8, 8), 1.0)
    bank = ImageBank(-far, far[:1], prior=0.1)
    source = PairSource(bank=bank, retain_rows=8, forget_rows=8, seed=0)
    denoiser = tiny_unet(conditional=False, schedule="linear")
    # Early timesteps alone: every weight is saturated.
    denoiser = replace(denoiser, schedule=NoiseSchedule(
        denoiser.schedule.alphas[:50], denoiser.schedule.sigmas[:50]))  # fmt: skip
    method = SISS(mixture=share, only_when_larger=False)
    settings = TrainSettings(steps=2, batch_size=8, log_every=1)
    result = Trainer(method, method.networks(denoiser), source, settings, tmp_path).run()
    for tensor in result.denoiser.network.state_dict().values():
        assert torch.isfinite(tensor).all()
    if share == 0:
        log = (tmp_path / "metrics.jsonl").read_text()
        assert '"student_forget_gradient_vanished": 1.0' in log
        assert '"student_forget_coefficient": 0.0' in log


def test_outside_the_window_nothing_is_forgotten(
    tiny_unet: Make, digits: Digits, pair_context: PairContext
) -> None:
    denoiser = tiny_unet(conditional=False)
    x, a = digits(32)
    method = SISS(window_start=0.999, window_end=1.0)
    naive = NaiveDeletion().loss("student", pair_context(denoiser, x, a))
    terms = method.loss("student", pair_context(denoiser, x, a))
    assert terms.forget is not None
    assert float(terms.forget) == pytest.approx(0.0, abs=1e-6)
    assert_close(terms.retain, naive.retain)


def test_accumulation_does_not_change_the_step(
    tiny_unet: Make, digits: Digits, tmp_path: Path
) -> None:
    x, a = digits(40)
    results = []
    for parts in (1, 4):
        denoiser = tiny_unet(conditional=False)
        source = PairSource(bank=ImageBank(x, a, 0.1), retain_rows=16, forget_rows=16, seed=0)
        settings = TrainSettings(steps=3, batch_size=16, accumulation=parts, learning_rate=1e-3)
        folder, method = tmp_path / str(parts), SISS()
        folder.mkdir()
        trainer = Trainer(method, method.networks(denoiser), source, settings, folder)
        results.append(trainer.run().denoiser.network.state_dict())
    for key, tensor in results[0].items():
        assert_close(tensor, results[1][key], rtol=0, atol=2e-5)


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_mixture_outside_0_to_1_is_refused(share: float) -> None:
    with pytest.raises(ValidationError, match="mixture"):
        SISS(mixture=share)
