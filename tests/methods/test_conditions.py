"""Methods on pictures under conditions: each row its own, and nothing else about them changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from efface.data.bank import ImageBank
from efface.data.batch import Batch, Side
from efface.data.randomness import RowRandom, Shard
from efface.data.source import PairSource
from efface.diffusion.denoiser import Condition, Denoiser, UnconditionalDenoiser
from efface.methods import names, resolve
from efface.methods.base import StepContext
from efface.methods.naive_deletion import NaiveDeletion
from efface.methods.siss import SISS

Make = Callable[..., Denoiser]
ON_PICTURES = [n for n in names() if "forget_images" in resolve(n).needs]
PROMPTS = Condition({"c": torch.tensor([[1.0], [-2.0]])})
ROWS = 8


class Deaf(nn.Module):
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
class Told(UnconditionalDenoiser):
    """A denoiser whose network is handed a condition."""


def told(denoiser: Denoiser, network: nn.Module) -> Told:
    return Told(
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


def context(method: Any, denoiser: Denoiser, source: PairSource) -> StepContext:
    return StepContext(
        step=0,
        steps=1,
        batch=source.batch(0, Shard()),
        rng=RowRandom(3, Shard(), (ROWS, source.forget_rows), "cpu"),
        networks=method.networks(denoiser),
        bank=source.bank,
    )


@pytest.mark.parametrize("target", ["noise", "teacher"])
@pytest.mark.parametrize("name", ON_PICTURES)
def test_a_network_that_ignores_its_condition_gives_the_unconditional_gradient(
    name: str, target: str, tiny_unet: Make
) -> None:
    method = resolve(name)(retain_target=target)  # pyright: ignore[reportCallIssue]
    denoiser = tiny_unet(conditional=False)
    rows = round(method.forget_share * ROWS)
    plain = make_source(denoiser, rows)
    asked = replace(plain, table=PROMPTS, shares=(0.5, 0.5))
    found = []
    for model, source in ((denoiser, plain), (told(denoiser, Deaf(denoiser.network)), asked)):
        ctx = context(method, model, source)
        method.loss("student", ctx).total.backward()
        found.append([p.grad for p in ctx.networks["student"].network.parameters()])
    for one, other in zip(*found, strict=True):
        assert (one is None) == (other is None)
        assert one is None or one.equal(other)


def test_every_row_is_asked_for_under_its_own_condition(tiny_unet: Make) -> None:
    denoiser = told(tiny_unet(conditional=False), Repeating())
    source = make_source(denoiser, 0, table=PROMPTS, shares=(0.5, 0.5))
    method = NaiveDeletion()
    ctx = context(method, denoiser, source)
    condition = ctx.batch.retain.condition
    assert condition is not None
    asked = condition.tensors["c"][:, :, None, None]
    assert set(asked.flatten().tolist()) == {1.0, -2.0}
    rng = RowRandom(3, Shard(), (ROWS, 0), "cpu")
    rng.integers(0, denoiser.schedule.num_timesteps)
    eps = rng.normal(denoiser.sample_shape)
    expected = (asked - eps).square().sum((1, 2, 3)).mean()
    assert_close(method.loss("student", ctx).retain, expected)


def test_splitting_by_arm_keeps_each_rows_condition(tiny_unet: Make) -> None:
    """The groups of SISS are sub-batches: their conditions travel with them."""
    denoiser = told(tiny_unet(conditional=False), Repeating())
    source = make_source(denoiser, table=PROMPTS, shares=(0.5, 0.5))
    whole, split = (
        SISS(arm_split=how).loss("student", context(SISS(), denoiser, source))
        for how in ("never", "always")
    )
    assert whole.forget is not None and split.forget is not None
    assert_close(whole.retain, split.retain)
    assert_close(whole.forget, split.forget)
    assert 0 < whole.logs["undecided"] < 1


@pytest.mark.parametrize("name", ON_PICTURES)
def test_nothing_is_forgotten_beside_rows_that_only_stay(name: str, tiny_unet: Make) -> None:
    method = resolve(name)()
    denoiser = told(tiny_unet(conditional=False), Repeating())
    rows = round(method.forget_share * ROWS)
    source = make_source(denoiser, rows, table=PROMPTS, shares=(0.5, 0.5))
    ctx = context(method, denoiser, source)
    retain, forget = (
        replace(side, alone=torch.ones(side.size, dtype=torch.bool))
        for side in (ctx.batch.retain, ctx.batch.forget)
    )
    ctx = replace(ctx, batch=Batch(retain=retain, forget=forget))
    found = method.loss("student", ctx)
    if name == "posterior_subtraction":  # nothing is subtracted: the untouched model is right
        assert float(found.total.detach()) == pytest.approx(0, abs=1e-9)
        return
    assert found.forget is None or float(found.forget.detach()) == 0
    if name.startswith("siss"):
        plain = NaiveDeletion().loss("student", context(NaiveDeletion(), denoiser, source))
        assert_close(found.retain, plain.retain)


@pytest.mark.parametrize("name", ["siss", "siss_no_is", "naive_deletion"])
def test_rows_that_only_stay_can_regress_the_untouched_model(name: str, tiny_unet: Make) -> None:
    """It is the student still: their share of the retain term is 0, and no other row's changes."""
    denoiser = told(tiny_unet(conditional=False), Repeating())
    source = make_source(denoiser, ROWS, table=PROMPTS, shares=(0.5, 0.5))

    def retain(target: str, alone: Tensor) -> Tensor:
        method = resolve(name)(alone_target=target)  # pyright: ignore[reportCallIssue]
        ctx = context(method, denoiser, source)
        batch = Batch(
            retain=replace(ctx.batch.retain, alone=alone),
            forget=replace(ctx.batch.forget, alone=alone),
        )
        found = method.loss("student", replace(ctx, batch=batch)).retain
        assert found is not None
        return found.detach()

    every, some = torch.ones(ROWS, dtype=torch.bool), torch.arange(ROWS) % 3 == 0
    assert retain("teacher", every) == 0 < retain("noise", every)
    if name != "siss":  # whose other rows lie at pictures to forget in part
        both = retain("teacher", some) + retain("teacher", ~some)
        assert_close(both, retain("noise", every))


def conditions(batch: Batch) -> tuple[list[float], list[float]]:
    def values(side: Side) -> list[float]:
        assert side.condition is not None
        return side.condition.tensors["c"][:, 0].tolist()

    return values(batch.retain), values(batch.forget)


def test_both_pictures_of_a_pair_share_a_prompt_and_prompts_have_their_shares(
    tiny_unet: Make,
) -> None:
    source = make_source(tiny_unet(conditional=False), table=PROMPTS, shares=(0.25, 0.75))
    drawn = []
    for step in range(200):
        retain, forget = conditions(source.batch(step, Shard()))
        assert retain == forget
        drawn += retain
    share = drawn.count(1.0) / len(drawn)
    assert abs(share - 0.25) < 4 * (0.25 * 0.75 / len(drawn)) ** 0.5
    alone = replace(source, shares=(0.0, 1.0))
    assert set(conditions(alone.batch(0, Shard()))[0]) == {-2.0}


def test_parts_of_a_batch_hold_the_conditions_of_the_whole(tiny_unet: Make) -> None:
    source = make_source(tiny_unet(conditional=False), table=PROMPTS, shares=(0.5, 0.5))
    whole = conditions(source.batch(7, Shard()))
    parts = [conditions(source.batch(7, Shard(i, 4))) for i in range(4)]
    for side in (0, 1):
        assert [v for part in parts for v in part[side]] == whole[side]
