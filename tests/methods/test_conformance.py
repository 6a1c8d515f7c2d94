"""Every file in methods/ keeps the contract, without a test of its own for it."""

from __future__ import annotations

import ast
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from pydantic import TypeAdapter

from efface import methods
from efface.data.bank import ImageBank
from efface.data.images import load_images
from efface.data.randomness import RowRandom, Shard
from efface.data.source import BatchSource, ConditionSource, ImageSource, PairSource
from efface.diffusion.denoiser import ClassDenoiser, Denoiser
from efface.diffusion.prediction import PREDICTION_KINDS
from efface.diffusion.schedule import NoiseSchedule
from efface.diffusion.text.denoiser import TextDenoiser
from efface.diffusion.text.families import FAMILIES
from efface.errors import ConfigError
from efface.methods import names, resolve
from efface.methods.base import Method, StepContext
from efface.training.trainer import TrainConfig, Trainer
from tests.diffusion.text.conftest import pipelines as pipelines
from tests.diffusion.text.conftest import text_model as text_model

Make = Callable[..., Denoiser]
MODELS = {
    "epsilon": {},
    "sample": {"prediction": "sample"},
    "v": {"prediction": "v_prediction"},
    "v with zero terminal SNR": {"prediction": "v_prediction", "zero_terminal_snr": True},
    "linear": {"schedule": "linear"},
    "flow": {"flow": True},
}


def suited(method: Method, make: Make, flow: bool = False, **overrides: object) -> Denoiser:
    """A tiny model that the method can work on."""
    denoiser = make(conditional="forget_images" not in method.needs, **overrides)
    return as_flow(denoiser) if flow else denoiser


def as_flow(denoiser: Denoiser) -> Denoiser:
    """The same network, read as one of flow matching."""
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    schedule = NoiseSchedule.from_flow_scheduler(scheduler)
    return dataclasses.replace(denoiser, kind="flow", schedule=schedule, scheduler=scheduler)


def make_source(method: Method, denoiser: Denoiser, rows: int = 4) -> tuple[BatchSource, int]:
    if "forget_images" in method.needs:
        x = load_images("digits", "test").images[:40].float() / 127.5 - 1
        forget_rows = round(method.forget_share * rows)
        bank = ImageBank(x[2:], x[:2], prior=0.1)
        pairs = PairSource(bank=bank, retain_rows=rows, forget_rows=forget_rows, seed=0)
        return pairs, forget_rows
    assert isinstance(denoiser, ClassDenoiser)
    if "conditions" in method.needs:
        forget_rows = round(method.forget_share * rows)
        source = ConditionSource(
            table=denoiser.encode(range(10)),
            retain=list(range(1, 10)),
            forget=[0],
            replacements=[[1]],
            retain_rows=rows,
            forget_rows=forget_rows,
            seed=0,
        )
        return source, forget_rows
    digits = load_images("digits", "test")
    source = ImageSource(
        images=digits.images,
        table=denoiser.encode(range(10)),
        labels=digits.labels,
        rows=rows,
        seed=0,
    )
    return source, 0


def make_context(method: Method, denoiser: Denoiser) -> StepContext:
    source, forget_rows = make_source(method, denoiser)
    return StepContext(
        step=0,
        steps=10,
        batch=source.batch(0, Shard()),
        rng=RowRandom(0, Shard(), (4, forget_rows), "cpu"),
        networks=method.networks(denoiser),
        bank=source.bank,
    )


@pytest.mark.parametrize("name", names())
def test_builds_with_defaults_and_goes_through_json(name: str) -> None:
    kind = resolve(name)
    method = kind()
    assert TypeAdapter(kind).validate_json(json.dumps(dataclasses.asdict(method))) == method
    assert kind.summary
    assert "\n" not in kind.summary


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", names())
def test_loss_is_finite_and_only_active_networks_take_gradient(
    name: str, model: str, tiny_unet: Make
) -> None:
    method = resolve(name)()
    ctx = make_context(method, suited(method, tiny_unet, **MODELS[model]))
    for phase in method.phases:
        for other, denoiser in ctx.networks.items():
            denoiser.network.requires_grad_(other in method.active(phase))
            denoiser.network.zero_grad()
        total = method.loss(phase, ctx).total
        assert torch.isfinite(total)
        total.backward()
        for other, denoiser in ctx.networks.items():
            grads = [p.grad for p in denoiser.network.parameters()]
            if other == phase:
                assert any(g is not None and g.abs().sum() > 0 for g in grads)
            elif other not in method.active(phase):
                assert all(g is None for g in grads)


@pytest.mark.parametrize("name", names())
def test_loss_runs_on_a_latent_transformer(name: str, tiny_dit: Callable[[], Denoiser]) -> None:
    method, denoiser = resolve(name)(), tiny_dit()
    if "conditions" not in method.needs:
        pytest.skip("needs images of this model's size")
    ctx = make_context(method, denoiser)
    for phase in method.phases:
        assert torch.isfinite(method.loss(phase, ctx).total)


@pytest.mark.parametrize("kind", ["sd", "sd_v", "sd3"])
@pytest.mark.parametrize("name", [n for n in names() if "forget_images" in resolve(n).needs])
def test_methods_on_pictures_forget_them_under_prompts(
    name: str, kind: str, text_model: Callable[..., TextDenoiser]
) -> None:
    """On a text-to-image model, where every pair of latents has a prompt of its own."""
    method, denoiser = resolve(name)(), text_model(kind)
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(9, *denoiser.sample_shape, generator=generator)
    forget_rows = round(method.forget_share * 4)
    source = PairSource(
        bank=ImageBank(latents[3:], latents[:3], prior=0.3),
        retain_rows=4,
        forget_rows=forget_rows,
        seed=0,
        table=denoiser.encode(["red bag", "bag"]),
        shares=(0.5, 0.5),
    )
    losses = []
    for table in (source.table, denoiser.encode(["a cat", "bag"])):
        asked = dataclasses.replace(source, table=table)
        ctx = StepContext(
            step=0,
            steps=10,
            batch=asked.batch(0, Shard()),
            rng=RowRandom(0, Shard(), (4, forget_rows), "cpu"),
            networks=method.networks(denoiser),
            bank=asked.bank,
        )
        terms = method.loss("student", ctx)
        terms.total.backward()
        gradients = [p.grad for p in ctx.networks["student"].network.parameters()]
        assert any(g is not None and g.abs().sum() > 0 for g in gradients)
        assert torch.isfinite(terms.total)
        losses.append(terms.total.detach())
    assert losses[0] != losses[1], "the prompts were not asked for"


@pytest.mark.parametrize("name", names())
def test_same_seed_gives_the_same_loss(name: str, tiny_unet: Make) -> None:
    method = resolve(name)()
    denoiser = suited(method, tiny_unet)
    for phase in method.phases[:1]:
        first, second = (method.loss(phase, make_context(method, denoiser)).total for _ in range(2))
        assert first.equal(second)


@pytest.mark.parametrize("name", names())
def test_ten_steps_change_the_trained_networks_and_nothing_else(
    name: str, tiny_unet: Make, tmp_path: Path
) -> None:
    method = resolve(name)()
    denoiser = suited(method, tiny_unet)
    before = {k: v.clone() for k, v in denoiser.network.state_dict().items()}
    source, forget_rows = make_source(method, denoiser)
    config = TrainConfig(steps=10, batch_size=4, learning_rate=1e-3, ema_decay=0.5)
    networks = method.networks(denoiser)
    result = Trainer(method, networks, source, config, tmp_path, forget_rows).run()
    after = result.denoiser.network.state_dict()
    assert any(not after[k].equal(v) for k, v in before.items())
    for k, v in denoiser.network.state_dict().items():
        assert v.equal(before[k]), "the pretrained model was changed"
    for other in set(networks) - set(method.phases):
        for k, v in result.networks[other].network.state_dict().items():
            assert v.equal(before[k])


@pytest.mark.parametrize("file", sorted(Path(methods.__file__).parent.glob("*.py")), ids=str)
def test_no_method_asks_what_kind_of_model_it_has(file: Path) -> None:
    """Neither the kind of prediction nor the family: `Denoiser` and `Prediction` know them."""
    kinds = {*PREDICTION_KINDS, *FAMILIES}
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            assert node.attr not in ("kind", "family"), f"{file}:{node.lineno}"
        if isinstance(node, ast.Constant):
            assert node.value not in {*kinds, "kind", "family"}, f"{file}:{node.lineno}"
        if isinstance(node, ast.ImportFrom):
            asked = {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
            assert not [name for name in asked if ".text" in name or ".prediction" in name], file


def test_unknown_method_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match="denoising, .*sfd"):
        resolve("sdf")
