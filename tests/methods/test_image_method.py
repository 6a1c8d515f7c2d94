"""Image methods under conditions: each row its own, and nothing else about them changes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.testing import assert_close

from efface.data.batch import Batch, ImageBank
from efface.data.randomness import RowRandom, Shard
from efface.data.source import PairSource
from efface.diffusion.denoiser import Condition, Denoiser, UnconditionalDenoiser
from efface.errors import ConfigError
from efface.methods import names, resolve
from efface.methods.base import Method, StepContext
from efface.methods.naive_deletion import NaiveDeletion
from efface.methods.siss import SISS

Make = Callable[..., Denoiser]
ON_IMAGES = [n for n in names() if "images" in resolve(n).forgets]
PROMPTS = Condition({"c": torch.tensor([[1.0], [-2.0]])})
ROWS = 8


class Ignoring(nn.Module):
    """A network that takes a condition and ignores it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, t: Tensor, c: Tensor, return_dict: bool = False) -> Any:
        assert len(c) == len(x)
        return self.network(x, t, return_dict=return_dict)


class Repeating(nn.Module):
    """A network that predicts theta times its condition at every pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, t: Tensor, c: Tensor, return_dict: bool = False) -> tuple[Tensor]:
        del t, return_dict
        return (self.theta * c[:, :, None, None].expand_as(x),)


@dataclass(frozen=True, eq=False, kw_only=True)
class Conditional(UnconditionalDenoiser):
    """A denoiser whose network is handed a condition."""


def conditional(denoiser: Denoiser, network: nn.Module) -> Conditional:
    return Conditional(
        network=network,
        schedule=denoiser.schedule,
        kind=denoiser.kind,
        sample_shape=denoiser.sample_shape,
        scheduler=denoiser.scheduler,
    )


def make_source(denoiser: Denoiser, forget_rows: int = ROWS, **more: Any) -> PairSource:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(12, *denoiser.sample_shape, generator=generator)
    # Near enough to one another that rows of SISS belong to both terms.
    bank = ImageBank(x[:9], x[:1] + 0.2 * x[9:], 0.2)
    return PairSource(bank=bank, retain_rows=ROWS, forget_rows=forget_rows, seed=0, **more)


def context(method: Method, denoiser: Denoiser, source: PairSource) -> StepContext:
    return StepContext(
        step=0,
        steps=1,
        batch=source.batch(0, Shard()),
        rng=RowRandom(3, Shard(), (ROWS, source.forget_rows), "cpu"),
        networks=method.networks(denoiser),
        bank=source.bank,
    )


@pytest.mark.parametrize("target", ["noise", "teacher"])
@pytest.mark.parametrize("name", ON_IMAGES)
def test_a_network_that_ignores_its_condition_gives_the_unconditional_gradient(
    name: str, target: str, tiny_unet: Make
) -> None:
    method = resolve(name)(retain_target=target)  # pyright: ignore[reportCallIssue]
    denoiser = tiny_unet(conditional=False)
    denoiser.network.eval()  # a teacher puts it there too, and sums round otherwise in train mode
    rows = round(method.forget_share * ROWS)
    plain = make_source(denoiser, rows)
    prompted = replace(plain, table=PROMPTS, shares=(0.5, 0.5))
    found = []
    for model, source in (
        (denoiser, plain),
        (conditional(denoiser, Ignoring(denoiser.network)), prompted),
    ):
        ctx = context(method, model, source)
        method.loss("student", ctx).total.backward()
        found.append([p.grad for p in ctx.networks["student"].network.parameters()])
    for one, other in zip(*found, strict=True):
        assert (one is None) == (other is None)
        assert one is None or one.equal(other)


def test_every_row_has_its_own_condition(tiny_unet: Make) -> None:
    denoiser = conditional(tiny_unet(conditional=False), Repeating())
    source = make_source(denoiser, 0, table=PROMPTS, shares=(0.5, 0.5))
    method = NaiveDeletion()
    ctx = context(method, denoiser, source)
    condition = ctx.batch.retain.condition
    assert condition is not None
    predicted = condition.tensors["c"][:, :, None, None]
    assert set(predicted.flatten().tolist()) == {1.0, -2.0}
    rng = RowRandom(3, Shard(), (ROWS, 0), "cpu")
    rng.integers(0, denoiser.schedule.num_timesteps)
    eps = rng.normal(denoiser.sample_shape)
    expected = (predicted - eps).square().sum((1, 2, 3)).mean()
    assert_close(method.loss("student", ctx).retain, expected)


def test_splitting_by_arm_keeps_each_rows_condition(tiny_unet: Make) -> None:
    """The groups of SISS are sub-batches: their conditions travel with them."""
    denoiser = conditional(tiny_unet(conditional=False), Repeating())
    source = make_source(denoiser, table=PROMPTS, shares=(0.5, 0.5))
    whole, split = (
        SISS(arm_split=how).loss("student", context(SISS(), denoiser, source))
        for how in ("never", "always")
    )
    assert whole.forget is not None and split.forget is not None
    assert_close(whole.retain, split.retain)
    assert_close(whole.forget, split.forget)
    assert 0 < whole.logs["undecided"] < 1


@pytest.mark.parametrize("name", ON_IMAGES)
def test_nothing_is_forgotten_in_retain_only_rows(name: str, tiny_unet: Make) -> None:
    method = resolve(name)()
    denoiser = conditional(tiny_unet(conditional=False), Repeating())
    rows = round(method.forget_share * ROWS)
    source = make_source(denoiser, rows, table=PROMPTS, shares=(0.5, 0.5))
    ctx = context(method, denoiser, source)
    retain, forget = (
        replace(side, retain_only=torch.ones(side.size, dtype=torch.bool))
        for side in (ctx.batch.retain, ctx.batch.forget)
    )
    ctx = replace(ctx, batch=Batch(retain=retain, forget=forget))
    found = method.loss("student", ctx)
    if name == "posterior_subtraction":  # nothing is subtracted: the original model is right
        assert float(found.total.detach()) == pytest.approx(0, abs=1e-9)
        return
    assert found.forget is None or float(found.forget.detach()) == 0
    if name.startswith("siss"):
        plain = NaiveDeletion().loss("student", context(NaiveDeletion(), denoiser, source))
        assert_close(found.retain, plain.retain)


@pytest.mark.parametrize("name", ["siss", "siss_no_is", "naive_deletion"])
def test_retain_only_rows_can_regress_the_original_model(name: str, tiny_unet: Make) -> None:
    """It is the student still: their share of the retain term is 0, and no other row's changes."""
    denoiser = conditional(tiny_unet(conditional=False), Repeating())
    source = make_source(denoiser, ROWS, table=PROMPTS, shares=(0.5, 0.5))

    def retain(target: str, retain_only: Tensor) -> Tensor:
        method = resolve(name)(retain_only_target=target)  # pyright: ignore[reportCallIssue]
        ctx = context(method, denoiser, source)
        batch = Batch(
            retain=replace(ctx.batch.retain, retain_only=retain_only),
            forget=replace(ctx.batch.forget, retain_only=retain_only),
        )
        found = method.loss("student", replace(ctx, batch=batch)).retain
        assert found is not None
        return found.detach()

    every, some = torch.ones(ROWS, dtype=torch.bool), torch.arange(ROWS) % 3 == 0
    assert retain("teacher", every) == 0 < retain("noise", every)
    if name != "siss":  # whose other rows are partly noised images to forget
        both = retain("teacher", some) + retain("teacher", ~some)
        assert_close(both, retain("noise", every))


def test_a_window_that_ends_before_it_begins_is_refused_by_name() -> None:
    with pytest.raises(ConfigError) as refused:
        SISS(window_start=0.6, window_end=0.4)
    for part in ("window_start", "0.6", "window_end", "0.4"):
        assert part in str(refused.value)


@pytest.mark.parametrize("tau", [0.0, 1.0, -2.0])
def test_a_tau_that_is_no_share_is_refused(tau: float) -> None:
    with pytest.raises(ValidationError, match="tau"):
        SISS(tau=tau)


def test_a_batch_of_pairs_has_one_timestep_and_noise_for_both_images(
    tiny_unet: Make, digits: Callable[[int], tuple[Tensor, Tensor]], pair_context: Any
) -> None:
    denoiser = tiny_unet(conditional=False)
    x, a = digits(16)
    pairs = SISS(window_start=0.25, window_end=0.75).pairs(pair_context(denoiser, x, a))
    assert pairs.x.equal(x) and pairs.a.equal(a)
    assert len(pairs.t) == len(pairs.eps) == 16
    share = pairs.t / denoiser.schedule.num_timesteps
    assert pairs.in_window.equal((share >= 0.25) & (share < 0.75))
    assert not pairs.teacher_rows.any()


def test_timesteps_cover_the_schedule(tiny_unet: Make, pair_context: Any) -> None:
    denoiser = tiny_unet(conditional=False)
    x = torch.zeros(20_000, 1, 1, 1)
    t = SISS().pairs(pair_context(denoiser, x, x)).t
    timesteps = denoiser.schedule.num_timesteps
    histogram = torch.bincount(t, minlength=timesteps).double()
    assert (histogram > 0).all()
    expected = len(t) / timesteps
    chi_square = float(((histogram - expected).square() / expected).sum())
    assert abs(chi_square - timesteps) < 5 * math.sqrt(2 * timesteps)


@pytest.mark.parametrize("name", ["siss", "siss_no_is", "siss_bernoulli"])
def test_a_batch_outside_the_window_retains_and_forgets_nothing(
    name: str, tiny_unet: Make, digits: Callable[[int], tuple[Tensor, Tensor]], pair_context: Any
) -> None:
    denoiser = tiny_unet(conditional=False)
    outside = resolve(name)(window_start=0.9999, window_end=1.0)  # pyright: ignore
    terms = outside.loss("student", pair_context(denoiser, *digits(4)))
    assert terms.forget is not None
    assert float(terms.forget) == 0.0
    assert torch.isfinite(terms.retain)
