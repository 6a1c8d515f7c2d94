"""What a method may declare beyond its loss, with small methods that do: the loop obeys."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass as plain_dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from pydantic import Field, ValidationError
from pydantic.dataclasses import dataclass
from torch import Tensor
from torch.testing import assert_close

from efface.data.source import BatchSource
from efface.diffusion.denoiser import Denoiser
from efface.errors import ConfigError
from efface.methods.base import InnerSteps, LossTerms, Method, StepContext, per_sample_sum
from efface.methods.gradient_rules import PlainSum
from efface.training.settings import TrainSettings
from efface.training.trainer import Trainer

MakeTrainer = Callable[..., Trainer]


class Regression(Method):
    """The denoising loss on the images to retain; what follows adds one declaration each."""

    title: ClassVar[str] = "regression"
    summary: ClassVar[str] = "a method of these tests"
    forgets = frozenset({"images"})
    needs = frozenset({"images"})
    forget_share = 1.0

    def loss(self, phase: str, ctx: StepContext) -> LossTerms:
        return LossTerms(retain=self.error(phase, ctx, ctx.batch.retain.x0))

    def error(self, phase: str, ctx: StepContext, x0: Tensor | None) -> Tensor:
        assert x0 is not None
        student = ctx.networks[phase]
        t = ctx.rng.integers(0, student.schedule.num_timesteps)[: len(x0)]
        eps = ctx.rng.normal(student.sample_shape)[: len(x0)]
        noisy = student.schedule.add_noise(x0, eps, t)
        return (student(noisy, t).eps - eps).square().mean()


@pytest.fixture
def make_trainer(
    tiny_unet: Callable[..., Denoiser], make_source: Callable[..., BatchSource]
) -> MakeTrainer:
    def make(method: Method, folder: Path, **more: Any) -> Trainer:
        denoiser = tiny_unet(conditional=False, dropout=0.1)
        settings = TrainSettings(
            **({"steps": 4, "batch_size": 4, "learning_rate": 1e-2, "ema_decay": 0.5} | more)
        )
        folder.mkdir(exist_ok=True)
        networks, source = method.networks(denoiser), make_source(method, denoiser)
        return Trainer(method, networks, source, settings, folder)

    return make


def state(denoiser: Denoiser) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in denoiser.network.named_parameters()}


def assert_same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert tensor.equal(other[name]), name


# A pre-pass.


class Fisher(Regression):
    """Squared gradients of the loss on images to forget, summed over the parts of one batch."""

    def __init__(self, parts: int = 1) -> None:
        self.parts = parts
        self.passes = 0
        self.read: list[dict[str, Tensor]] = []

    def prepare(self, contexts: Iterator[StepContext]) -> dict[str, Tensor]:
        squares: dict[str, Tensor] = {}
        for ctx in itertools.islice(contexts, self.parts):
            self.passes += 1
            network = ctx.networks["student"].network
            assert not network.training
            named = dict(network.named_parameters())
            assert ctx.batch.forget.x0 is not None
            loss = self.error("student", ctx, ctx.batch.forget.x0) * len(ctx.batch.forget.x0)
            for name, g in zip(named, torch.autograd.grad(loss, list(named.values())), strict=True):
                squares[name] = squares.get(name, 0) + g.square()
        return squares

    def loss(self, phase: str, ctx: StepContext) -> LossTerms:
        self.read.append(dict(ctx.prepared))
        return super().loss(phase, ctx)


def test_a_pre_pass_is_handed_to_every_loss(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    method = Fisher()
    trainer = make_trainer(method, tmp_path)
    names = [name for name, _ in trainer.networks["student"].network.named_parameters()]
    trainer.run()
    assert method.passes == 1
    assert len(method.read) == 4
    for prepared in method.read:
        assert list(prepared) == names
        assert_same(prepared, method.read[0])
    assert all((tensor >= 0).all() for tensor in method.read[0].values())
    assert sum(float(tensor.sum()) for tensor in method.read[0].values()) > 0


def test_a_pre_pass_changes_nothing_by_itself(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    plain = make_trainer(Regression(), tmp_path / "plain").run()
    prepared = make_trainer(Fisher(), tmp_path / "prepared").run()
    assert_same(state(plain.denoiser), state(prepared.denoiser))


def test_a_resumed_run_reads_its_pre_pass_from_the_checkpoint(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    def stop(step: int) -> None:
        if step == 2:
            raise KeyboardInterrupt

    first, second = Fisher(), Fisher()
    with pytest.raises(KeyboardInterrupt):
        make_trainer(first, tmp_path, checkpoint_every=2).run(on_step=stop)
    make_trainer(second, tmp_path, checkpoint_every=2).run(resume=True)
    assert (first.passes, second.passes) == (1, 0)
    assert len(second.read) == 2
    for prepared in second.read:
        assert_same(prepared, first.read[0])


def test_a_pre_pass_sees_the_same_rows_however_a_batch_is_spread(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    """Its parts together are the whole: with one row a part their squares are those of rows."""
    rows: list[Tensor] = []

    class Reading(Regression):
        def prepare(self, contexts: Iterator[StepContext]) -> dict[str, Tensor]:
            parts = [next(contexts) for _ in range(self.parts)]
            rows.append(
                torch.cat([p.batch.retain.x0 for p in parts if p.batch.retain.x0 is not None])
            )
            rows.append(torch.cat([p.rng.normal((2,))[: p.batch.retain.size] for p in parts]))
            return {}

        def __init__(self, parts: int) -> None:
            self.parts = parts

    for parts in (1, 4):
        make_trainer(Reading(parts), tmp_path / str(parts), accumulation=parts).run()
    assert rows[0].equal(rows[2])
    assert rows[1].equal(rows[3])


# A mask on the update.


class Masked(Regression):
    """Updates every second weight of what its pre-pass names."""

    def prepare(self, contexts: Iterator[StepContext]) -> dict[str, Tensor]:
        named = dict(next(contexts).networks["student"].network.named_parameters())
        return {n: torch.arange(p.numel()).view_as(p) % 2 for n, p in list(named.items())[:-2]}

    def update_mask(self, phase: str, prepared: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        assert phase == "student"
        return {name: tensor == 0 for name, tensor in prepared.items()}


def test_masked_weights_are_bit_identical_after_a_run_with_decay_and_momentum(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    settings = {"weight_decay": 0.5, "clip_norm": 1.0, "beta1": 0.9}
    trainer = make_trainer(Masked(), tmp_path / "masked", **settings)
    before = state(trainer.networks["student"])
    result = trainer.run()
    trained, averaged = state(trainer.networks["student"]), state(result.denoiser)
    unmasked = list(before)[-2:]
    for name, start in before.items():
        mask = (torch.arange(start.numel()).view_as(start) % 2 == 0) | (name in unmasked)
        for after in (trained[name], averaged[name]):
            assert after[~mask].equal(start[~mask]), name
            assert (after[mask] != start[mask]).any(), name
    # In the first step what is let through is what an unmasked run does: the gradient is whole.
    first = make_trainer(Masked(), tmp_path / "first", steps=1, **settings)
    plain = make_trainer(Regression(), tmp_path / "plain", steps=1, **settings)
    first.run()
    plain.run()
    for name, weights in state(first.networks["student"]).items():
        mask = (torch.arange(weights.numel()).view_as(weights) % 2 == 0) | (name in unmasked)
        assert weights[mask].equal(state(plain.networks["student"])[name][mask])


def test_a_mask_of_no_parameter_is_refused_by_name(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    class Misnamed(Regression):
        def update_mask(self, phase: str, prepared: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
            return {"no.such": torch.ones(1, dtype=torch.bool)}

    with pytest.raises(ConfigError, match=r"student.*'no\.such'"):
        make_trainer(Misnamed(), tmp_path).run()


# Inner steps.


@plain_dataclass(frozen=True)
class Bilevel(Regression):
    """Descends the error on images to forget first, then regresses the retained ones there."""

    steps: int = 2
    seen: tuple[list[dict[str, Tensor]], list[float]] = ([], [])

    def inner(self, phase: str) -> InnerSteps | None:
        return InnerSteps(count=self.steps, learning_rate=0.05)

    def inner_loss(self, phase: str, ctx: StepContext) -> Tensor:
        loss = self.error(phase, ctx, ctx.batch.forget.x0)
        self.seen[1].append(float(loss.detach()))
        return loss

    def loss(self, phase: str, ctx: StepContext) -> LossTerms:
        self.seen[0].append(state(ctx.networks[phase]))
        return super().loss(phase, ctx)


def test_inner_steps_are_sgd_and_the_weights_come_back_bit_for_bit(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    method = Bilevel(seen=([], []))
    trainer = make_trainer(method, tmp_path, learning_rate=0.0)
    before = state(trainer.networks["student"])
    trainer.run()
    assert_same(state(trainer.networks["student"]), before)
    assert len(method.seen[0]) == 4 and len(method.seen[1]) == 4 * 2
    moved = [w for w in method.seen[0][0] if not method.seen[0][0][w].equal(before[w])]
    assert len(moved) > len(before) / 2  # the loss was evaluated elsewhere
    assert len(set(method.seen[1])) == 4 * 2  # every inner step has noise of its own


def test_the_update_is_the_gradient_at_the_inner_weights(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    method = Bilevel(seen=([], []))
    trainer = make_trainer(method, tmp_path, steps=1)
    before = state(trainer.networks["student"])
    trainer.step(0)
    found = {n: p.grad for n, p in trainer.networks["student"].network.named_parameters()}
    # A plain run that starts at the inner weights has this gradient.
    (tmp_path / "plain").mkdir()
    plain = make_trainer(Regression(), tmp_path / "plain", steps=1)
    with torch.no_grad():
        for name, parameter in plain.networks["student"].network.named_parameters():
            parameter.copy_(method.seen[0][0][name])
    plain.step(0)
    for name, parameter in plain.networks["student"].network.named_parameters():
        assert parameter.grad is not None
        assert_close(found[name], parameter.grad)
    after = state(trainer.networks["student"])
    for name, start in before.items():
        # AdamW's first step is the learning rate wherever there is a gradient.
        assert (after[name] - start).abs().max() <= 1e-2 * 1.01


def test_accumulation_does_not_change_inner_steps(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    methods = [Bilevel(seen=([], [])) for _ in range(2)]
    for parts, method in zip((1, 4), methods, strict=True):
        denoiser = make_trainer(method, tmp_path / str(parts), accumulation=parts)
        for module in denoiser.networks["student"].network.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0  # its masks are those of a part
        denoiser.step(0)
    for name, whole in methods[0].seen[0][0].items():
        assert_close(methods[1].seen[0][0][name], whole, rtol=0, atol=1e-5)


def test_inner_steps_without_a_loss_name_the_method(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    class Forgotten(Regression):
        def inner(self, phase: str) -> InnerSteps | None:
            return InnerSteps(count=1, learning_rate=0.1)

    with pytest.raises(NotImplementedError, match="Forgotten"):
        make_trainer(Forgotten(), tmp_path).run()


# Defaults and hyperparameters.


def test_what_a_method_does_not_declare_costs_nothing() -> None:
    method = Regression()
    assert method.prepare(iter(())) == {}
    assert method.update_mask("student", {}) == {}
    assert method.inner("student") is None
    assert method.rule("student") == PlainSum()
    assert not method.guided("teacher") and not method.guides_teacher
    assert method.active("student") == ("student",)
    assert method.passes("student", "student", 4, 2) == (6,)


def test_hyperparameters_of_any_method_are_checked() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Tuned(Regression):
        strength: float = Field(1.0, ge=0, le=2, description="How strongly it forgets.")

    assert Tuned(strength=2).strength == 2.0
    for value in (-0.1, 2.1, float("nan"), "1"):
        with pytest.raises(ValidationError, match="strength"):
            Tuned(strength=value)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValidationError, match="stength"):
        Tuned(stength=1.0)  # pyright: ignore[reportCallIssue]


def test_loss_terms_add_up_and_sums_are_per_sample() -> None:
    one, two = torch.tensor(1.0), torch.tensor(2.0)
    assert LossTerms(retain=one).total == 1
    assert LossTerms(retain=one, forget=two).total == 3
    assert per_sample_sum(torch.ones(3, 2, 4)).tolist() == [8.0] * 3
