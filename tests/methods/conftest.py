"""What the tests of methods share: suited models, batches of every kind, calls on record."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn

from efface.data.batch import Batch, ImageBank, Side, WordBank
from efface.data.images import load_images
from efface.data.randomness import RowRandom, Shard
from efface.data.source import BatchSource, ConditionSource, LabelledSource, PairSource
from efface.diffusion.denoiser import (
    ClassDenoiser,
    Denoiser,
    UnconditionalDenoiser,
    as_class_denoiser,
)
from efface.diffusion.schedule import NoiseSchedule
from efface.diffusion.text.denoiser import TextDenoiser
from efface.methods.base import Method, StepContext

Make = Callable[..., Denoiser]
RETAIN, FORGET = 6, 4
SIGMAS = torch.tensor([0.5, 0.8, 0.95])
THETA = torch.tensor([0.2, 0.5, 0.9])


@pytest.fixture(scope="session")
def suited(tiny_unet: Make, text_model: Callable[..., TextDenoiser]) -> Callable[..., Denoiser]:
    def make(method: Method, flow: bool = False, **overrides: object) -> Denoiser:
        """A tiny model that the method can work on, `flow` as one of flow matching."""
        if "words" in method.needs:
            return text_model("sd")
        denoiser = tiny_unet(conditional="images" not in method.forgets, **overrides)
        if not flow:
            return denoiser
        scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
        schedule = NoiseSchedule.from_flow_scheduler(scheduler)
        return dataclasses.replace(denoiser, kind="flow", schedule=schedule, scheduler=scheduler)

    return make


@pytest.fixture(scope="session")
def make_source() -> Callable[..., BatchSource]:
    def make(method: Method, denoiser: Denoiser, rows: int = 4) -> BatchSource:
        """What a method is fed with, with `rows` retained rows."""
        forget_rows = round(method.forget_share * rows)
        if "images" in method.needs:
            x = load_images("digits", "test").images[:40].float() / 127.5 - 1
            bank = ImageBank(x[2:], x[:2], prior=0.1)
            if "images" in method.forgets:
                return PairSource(bank=bank, retain_rows=rows, forget_rows=forget_rows, seed=0)
            return LabelledSource(
                bank=bank,
                table=as_class_denoiser(denoiser).encode(range(10)),
                labels=(torch.arange(38) % 9 + 1, torch.zeros(2, dtype=torch.long)),
                replacements={0: [1]},
                retain_rows=rows,
                forget_rows=forget_rows,
                seed=0,
            )
        if isinstance(denoiser, TextDenoiser):
            return word_source(denoiser, rows)
        assert isinstance(denoiser, ClassDenoiser)
        return ConditionSource(
            table=denoiser.encode(range(10)),
            retain=list(range(1, 10)),
            forget=[0],
            replacements=[[1]],
            retain_rows=rows,
            forget_rows=forget_rows,
            seed=0,
        )

    return make


def word_source(denoiser: TextDenoiser, rows: int) -> ConditionSource:
    """A bag is forgotten for a coat, and two animals are retained."""
    read = denoiser.prompts.last_tokens
    return ConditionSource(
        table=denoiser.encode(["a bag", "a coat", "a cat", "a dog"]),
        retain=[2, 3],
        forget=[0],
        replacements=[[1]],
        retain_rows=rows,
        seed=0,
        words=WordBank(
            forget=read(["bag"]), target=read(["coat"]), retain=read(["a cat", "a dog"])
        ),
    )


@pytest.fixture(scope="session")
def make_context(make_source: Callable[..., BatchSource]) -> Callable[..., StepContext]:
    def make(method: Method, denoiser: Denoiser) -> StepContext:
        """The first step of a run with 4 retained rows, after the method's pre-pass."""
        source, networks = make_source(method, denoiser), method.networks(denoiser)

        def step(number: int, seed: int) -> StepContext:
            return StepContext(
                step=number,
                steps=10,
                batch=source.batch(number, Shard()),
                rng=RowRandom(seed, Shard(), (4, source.forget_rows), "cpu"),
                networks=networks,
                bank=source.bank,
                words=source.words,
            )

        prepared = method.prepare(step(number, number + 1) for number in itertools.count())
        return dataclasses.replace(step(0, 0), prepared=prepared)

    return make


@pytest.fixture(scope="session")
def digits() -> Callable[[int], tuple[Tensor, Tensor]]:
    def make(count: int) -> tuple[Tensor, Tensor]:
        """So many retained digits, and as many to forget, in model space."""
        images = load_images("digits", "test").images[: 2 * count].float() / 127.5 - 1
        return images[:count], images[count:]

    return make


@pytest.fixture(scope="session")
def pair_context() -> Callable[..., StepContext]:
    def make(
        denoiser: Denoiser,
        x: Tensor,
        a: Tensor,
        seed: int = 0,
        bank: ImageBank | None = None,
        **networks: Denoiser,
    ) -> StepContext:
        """Retained images x and images to forget a, row by row."""
        sides = Side(size=len(x), x0=x), Side(size=len(a), x0=a)
        return StepContext(
            step=0,
            steps=10,
            batch=Batch(retain=sides[0], forget=sides[1]),
            rng=RowRandom(seed, Shard(), (len(x), len(a)), "cpu"),
            networks={"student": denoiser, **networks},
            bank=bank,
        )

    return make


class Linear(nn.Module):
    """eps_theta(m, t) = theta_t m."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(THETA.clone())

    def forward(self, x: Tensor, t: Tensor, return_dict: bool = False) -> tuple[Tensor]:
        del return_dict
        return (self.theta[t].view(-1, 1, 1, 1) * x,)


@pytest.fixture
def linear() -> UnconditionalDenoiser:
    """A model of three timesteps that is linear in its parameters."""
    return UnconditionalDenoiser(
        network=Linear(),
        schedule=NoiseSchedule((1 - SIGMAS.square()).sqrt(), SIGMAS),
        kind="epsilon",
        sample_shape=(1, 2, 2),
        scheduler=None,
    )


def exact_gradient(y: Tensor) -> Tensor:
    """Of E_t E_m |theta_t m - eps|^2 with m = alpha y + sigma eps, by theta."""
    alpha = (1 - SIGMAS.square()).sqrt()
    energy = alpha.square() * y.square().sum() + SIGMAS.square() * y.numel()
    return 2 * (THETA * energy - SIGMAS * y.numel()) / len(SIGMAS)


@pytest.fixture
def assert_unbiased(
    linear: UnconditionalDenoiser, pair_context: Callable[..., StepContext]
) -> Callable[[Method, float, float], None]:
    """Mean gradients of both terms of the linear model against their closed forms."""

    def check(method: Method, retain: float, forget: float) -> None:
        """Terms are `retain` times L_R and `forget` times L_A."""
        torch.manual_seed(0)
        x, a = torch.randn(1, 1, 2, 2), torch.randn(1, 1, 2, 2)
        rows = x.expand(4000, -1, -1, -1), a.expand(4000, -1, -1, -1)
        found: list[Tensor] = []
        for seed in range(30):
            terms = method.loss("student", pair_context(linear, *rows, seed=seed))
            found.append(torch.stack([gradient(t, linear) for t in (terms.retain, terms.forget)]))
        mean, spread = torch.stack(found).mean(0), torch.stack(found).std(0) / math.sqrt(30)
        expected = torch.stack([retain * exact_gradient(x), forget * exact_gradient(a)])
        assert ((mean - expected).abs() <= 5 * spread + 1e-4).all(), (mean, expected, spread)
        assert (spread < 0.1).all()

    return check


def gradient(term: Tensor | None, denoiser: Denoiser) -> Tensor:
    """Of one term by all parameters of a network; 0 where it depends on none."""
    parameters = list(denoiser.network.parameters())
    if term is None or not term.requires_grad:
        return torch.cat([torch.zeros_like(p).flatten() for p in parameters])
    found = torch.autograd.grad(term, parameters, retain_graph=True, materialize_grads=True)
    return torch.cat([g.flatten() for g in found])


@pytest.fixture(scope="session")
def gradients() -> Callable[[Any, Denoiser], tuple[Tensor, Tensor]]:
    """Of the retain and the forget term, each as one vector."""
    return lambda terms, denoiser: (
        gradient(terms.retain, denoiser),
        gradient(terms.forget, denoiser),
    )


@pytest.fixture(scope="session")
def perturbed() -> Callable[..., Denoiser]:
    def make(denoiser: Denoiser, seed: int, scale: float = 0.05) -> Denoiser:
        """A copy with other weights, so that teacher, fake score and student differ."""
        copy = denoiser.clone()
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in copy.network.parameters():
                parameter += scale * torch.randn(parameter.shape, generator=generator)
        return copy

    return make


@pytest.fixture(scope="session")
def sfd_context(perturbed: Callable[..., Denoiser]) -> Callable[..., StepContext]:
    def make(
        denoiser: Denoiser,
        retain: int = RETAIN,
        forget: int = FORGET,
        step: int = 0,
        **source: Any,
    ) -> StepContext:
        """A step of ten of SFD, which forgets class 0 for class 1."""
        rows = ConditionSource(
            table=denoiser.encode(range(10)),
            retain=list(range(1, 10)),
            forget=[0],
            replacements=[[1]],
            retain_rows=retain,
            forget_rows=forget,
            seed=3,
            **source,
        )
        return StepContext(
            step=step,
            steps=10,
            batch=rows.batch(0, Shard()),
            rng=RowRandom(11, Shard(), (retain, forget), "cpu"),
            networks={
                "teacher": denoiser.frozen(),
                "fake_score": perturbed(denoiser, 1),
                "student": perturbed(denoiser, 2),
            },
        )

    return make


Calls = dict[str, list[tuple[Tensor, Tensor, Tensor]]]


@pytest.fixture(scope="session")
def recorded() -> Callable[[StepContext], AbstractContextManager[Calls]]:
    @contextmanager
    def record(ctx: StepContext) -> Iterator[Calls]:
        """Input, timesteps and labels of every pass, by network."""
        calls: Calls = {name: [] for name in ctx.networks}
        handles = []
        for name, denoiser in ctx.networks.items():

            def hook(module: Any, args: Any, kwargs: Any, name: str = name) -> None:
                calls[name].append((args[0].detach(), args[1], kwargs["class_labels"]))

            handles.append(denoiser.network.register_forward_pre_hook(hook, with_kwargs=True))
        yield calls
        for handle in handles:
            handle.remove()

    return record


@pytest.fixture(scope="session")
def labelled_context() -> Callable[..., StepContext]:
    def make(
        method: Method, denoiser: Denoiser, rows: int = 4, replacement: int = 1, **more: Any
    ) -> StepContext:
        """A step on labelled digits, in which label 0 gives way to `replacement`."""
        x = load_images("digits", "test").images[:40].float() / 127.5 - 1
        source = LabelledSource(
            bank=ImageBank(x[8:], x[:8], prior=0.2),
            table=as_class_denoiser(denoiser).encode(range(10)),
            labels=(torch.arange(32) % 9 + 1, torch.zeros(8, dtype=torch.long)),
            replacements={0: [replacement]},
            retain_rows=rows,
            forget_rows=rows,
            seed=0,
        )
        ctx = StepContext(
            step=0,
            steps=10,
            batch=source.batch(0, Shard()),
            rng=RowRandom(7, Shard(), (rows, rows), "cpu"),
            networks=method.networks(denoiser),
            bank=source.bank,
        )
        return dataclasses.replace(ctx, **more)

    return make
