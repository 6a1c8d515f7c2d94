"""SISS: its expectation is that of L_R and L_A, and splitting by arm changes nothing but cost."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from efface.data.bank import ImageBank
from efface.data.batch import Batch, Side
from efface.data.images import load_images
from efface.data.randomness import RowRandom, Shard
from efface.data.source import PairSource
from efface.diffusion.denoiser import Denoiser, UnconditionalDenoiser
from efface.diffusion.schedule import NoiseSchedule
from efface.errors import ConfigError
from efface.methods.base import LossTerms, Method, StepContext
from efface.methods.naive_deletion import NaiveDeletion
from efface.methods.siss import SISS
from efface.methods.siss_bernoulli import SISSBernoulli
from efface.methods.siss_no_is import SISSNoIS
from efface.training.trainer import TrainConfig, Trainer

Make = Callable[..., Denoiser]
SIGMAS = torch.tensor([0.5, 0.8, 0.95])


class Linear(nn.Module):
    """eps_theta(m, t) = theta_t m."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor([0.2, 0.5, 0.9]))

    def forward(self, x: Tensor, t: Tensor, return_dict: bool = False) -> tuple[Tensor]:
        return (self.theta[t].view(-1, 1, 1, 1) * x,)


def linear() -> UnconditionalDenoiser:
    return UnconditionalDenoiser(
        network=Linear(),
        schedule=NoiseSchedule((1 - SIGMAS.square()).sqrt(), SIGMAS),
        kind="epsilon",
        sample_shape=(1, 2, 2),
        scheduler=None,
    )


def context(
    denoiser: Denoiser, x: Tensor, a: Tensor, seed: int = 0, **more: Denoiser
) -> StepContext:
    sides = Side(size=len(x), x0=x), Side(size=len(a), x0=a)
    return StepContext(
        step=0,
        steps=10,
        batch=Batch(retain=sides[0], forget=sides[1]),
        rng=RowRandom(seed, Shard(), (len(x), len(a)), "cpu"),
        networks={"student": denoiser, **more},
    )


def exact_gradient(y: Tensor) -> Tensor:
    """Of E_t E_m |theta_t m - eps|^2 with m = alpha y + sigma eps, by theta."""
    theta = torch.tensor([0.2, 0.5, 0.9])
    alpha = (1 - SIGMAS.square()).sqrt()
    energy = alpha.square() * y.square().sum() + SIGMAS.square() * y.numel()
    return 2 * (theta * energy - SIGMAS * y.numel()) / len(SIGMAS)


METHODS = {
    **{f"siss {share}": SISS(mixture=share) for share in (0.1, 0.5, 0.9)},
    "siss, arms drawn one by one": SISS(arms="bernoulli"),
    "siss, split": SISS(arm_split="always"),
    "no importance sampling": SISSNoIS(),
    "bernoulli 0.3": SISSBernoulli(mixture=0.3),
}


@pytest.mark.parametrize("name", METHODS)
def test_gradients_are_unbiased(name: str) -> None:
    torch.manual_seed(0)
    count = 4000
    x, a = torch.randn(1, 1, 2, 2), torch.randn(1, 1, 2, 2)
    denoiser = linear()
    parameter = denoiser.network.theta
    draws: list[Tensor] = []
    for seed in range(30):
        batch = x.expand(count, -1, -1, -1), a.expand(count, -1, -1, -1)
        terms = METHODS[name].loss("student", context(denoiser, *batch, seed=seed))
        assert terms.forget is not None
        grads = [torch.autograd.grad(t, parameter, retain_graph=True)[0]
                 for t in (terms.retain, terms.forget)]  # fmt: skip
        draws.append(torch.stack(grads))
    found, spread = torch.stack(draws).mean(0), torch.stack(draws).std(0) / math.sqrt(30)
    expected = torch.stack([exact_gradient(x), -exact_gradient(a)])
    assert ((found - expected).abs() <= 5 * spread + 1e-4).all(), (found, expected, spread)
    assert (spread < 0.1).all()


def digits(count: int) -> tuple[Tensor, Tensor]:
    images = load_images("digits", "test").images[: 2 * count].float() / 127.5 - 1
    return images[:count], images[count:]


def gradients(terms: LossTerms, denoiser: Denoiser) -> tuple[Tensor, Tensor]:
    assert terms.forget is not None
    parameters = list(denoiser.network.parameters())

    def flat(term: Tensor) -> Tensor:
        got = torch.autograd.grad(term, parameters, retain_graph=True, materialize_grads=True)
        return torch.cat([g.flatten() for g in got])

    return flat(terms.retain), flat(terms.forget)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_splitting_by_arm_gives_the_same_gradients(prediction: str, tiny_unet: Make) -> None:
    denoiser = tiny_unet(conditional=False, prediction=prediction)
    denoiser.network.train()
    x, a = digits(32)
    both = [
        gradients(SISS(arm_split=how).loss("student", context(denoiser, x, a)), denoiser)
        for how in ("never", "always")
    ]
    for whole, split in zip(*both, strict=True):
        assert whole.norm() > 0
        assert (whole - split).norm() <= 1e-5 * whole.norm()


def passes(method: Method, denoiser: Denoiser, x: Tensor, a: Tensor) -> tuple[float, float]:
    """Forwards' worth per row of one step, and the share of undecided rows."""
    rows = {"forward": 0, "backward": 0}
    last = denoiser.network.conv_out
    handles = [
        last.register_forward_hook(
            lambda *args: rows.update(forward=rows["forward"] + len(args[2]))
        ),
        last.register_full_backward_hook(
            lambda *args: rows.update(backward=rows["backward"] + len(args[2][0]))
        ),
    ]
    terms = method.loss("student", context(denoiser, x, a))
    assert terms.forget is not None
    terms.forget.backward(retain_graph=True)
    terms.retain.backward()
    for handle in handles:
        handle.remove()
    cost = (rows["forward"] + 2 * rows["backward"]) / len(x)
    return cost, float(terms.logs.get("undecided", torch.tensor(0.0)))


def test_a_split_step_costs_3_plus_2u_forwards_instead_of_5(tiny_unet: Make) -> None:
    denoiser = tiny_unet(conditional=False)
    x, a = digits(64)
    whole, _ = passes(SISS(arm_split="never"), denoiser, x, a)
    split, undecided = passes(SISS(arm_split="always"), denoiser, x, a)
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
    config = TrainConfig(steps=2, batch_size=8, log_every=1)
    result = Trainer(method, method.networks(denoiser), source, config, tmp_path, 8).run()
    for tensor in result.denoiser.network.state_dict().values():
        assert torch.isfinite(tensor).all()
    if share == 0:
        log = (tmp_path / "metrics.jsonl").read_text()
        assert '"student_forget_gradient_vanished": 1.0' in log
        assert '"student_forget_coefficient": 0.0' in log


def test_timesteps_cover_the_schedule(tiny_unet: Make) -> None:
    denoiser = tiny_unet(conditional=False)
    x = torch.zeros(20_000, 1, 1, 1)
    t = SISS().pairs(context(denoiser, x, x)).t
    timesteps = denoiser.schedule.num_timesteps
    histogram = torch.bincount(t, minlength=timesteps).double()
    assert (histogram > 0).all()
    expected = len(t) / timesteps
    chi_square = float(((histogram - expected).square() / expected).sum())
    assert abs(chi_square - timesteps) < 5 * math.sqrt(2 * timesteps)


def test_outside_the_window_nothing_is_forgotten(tiny_unet: Make) -> None:
    denoiser = tiny_unet(conditional=False)
    x, a = digits(32)
    method = SISS(window_start=0.999, window_end=1.0)
    naive = NaiveDeletion().loss("student", context(denoiser, x, a))
    terms = method.loss("student", context(denoiser, x, a))
    assert terms.forget is not None
    assert float(terms.forget) == pytest.approx(0.0, abs=1e-6)
    assert_close(terms.retain, naive.retain)


def test_accumulation_does_not_change_the_step(tiny_unet: Make, tmp_path: Path) -> None:
    x, a = digits(40)
    results = []
    for parts in (1, 4):
        denoiser = tiny_unet(conditional=False)
        source = PairSource(bank=ImageBank(x, a, 0.1), retain_rows=16, forget_rows=16, seed=0)
        config = TrainConfig(steps=3, batch_size=16, accumulation=parts, learning_rate=1e-3)
        (tmp_path / str(parts)).mkdir()
        method = SISS()
        trainer = Trainer(
            method, method.networks(denoiser), source, config, tmp_path / str(parts), 16
        )
        results.append(trainer.run().denoiser.network.state_dict())
    for key, tensor in results[0].items():
        assert_close(tensor, results[1][key], rtol=0, atol=2e-5)


def test_stratified_arms_hold_their_share() -> None:
    rng = RowRandom(0, Shard(), (64, 64), "cpu")
    for share in (0.0, 0.25, 0.5, 1.0):
        assert int(rng.stratified(share)[:64].sum()) == round(64 * share)
    # A part of the batch holds its share too, and the parts are those of the whole.
    parts = [RowRandom(1, Shard(i, 4), (16, 0), "cpu").stratified(0.5) for i in range(4)]
    whole = RowRandom(1, Shard(), (64, 0), "cpu").stratified(0.5)
    assert torch.equal(torch.cat(parts), whole)
    assert all(int(part.sum()) == 8 for part in parts)
    often = torch.stack(
        [RowRandom(s, Shard(), (10, 0), "cpu").stratified(0.33) for s in range(2000)]
    )
    assert_close(often.float().mean(0), torch.full((10,), 0.33), rtol=0, atol=0.06)


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_mixture_outside_0_to_1_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match="give lambda from 0 to 1"):
        SISS(mixture=share)


@pytest.mark.parametrize("method", [SISS(), SISSNoIS(), SISSBernoulli()])
def test_a_batch_outside_the_window_keeps_and_forgets_nothing(
    method: Method, tiny_unet: Make
) -> None:
    denoiser = tiny_unet(conditional=False)
    x, a = digits(4)
    outside = replace(method, window_start=0.9999, window_end=1.0)  # pyright: ignore
    terms = outside.loss("student", context(denoiser, x, a))
    assert terms.forget is not None
    assert float(terms.forget) == 0.0
    assert torch.isfinite(terms.retain)
