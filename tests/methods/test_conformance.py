"""Every file in methods/ keeps the contract, without a test of its own for it."""

from __future__ import annotations

import ast
import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from annotated_types import Ge, Gt, Le, Lt
from pydantic import TypeAdapter, ValidationError

from efface import methods
from efface.data.batch import ImageBank
from efface.data.randomness import RowRandom, Shard
from efface.data.source import BatchSource, PairSource
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.prediction import PREDICTION_KINDS
from efface.diffusion.text.denoiser import TextDenoiser
from efface.diffusion.text.families import FAMILIES
from efface.methods import names, resolve
from efface.methods.base import StepContext
from efface.training.settings import TrainSettings
from efface.training.trainer import Trainer

MODELS: dict[str, dict[str, Any]] = {
    "epsilon": {},
    "sample": {"prediction": "sample"},
    "v": {"prediction": "v_prediction"},
    "v with zero terminal SNR": {"prediction": "v_prediction", "zero_terminal_snr": True},
    "linear": {"schedule": "linear"},
    "flow": {"flow": True},
}
TRAINED = [name for name in names() if resolve(name).phases]  # the others edit in closed form
FIELDS = [
    (name, key)
    for name in (*names(), "efface.training.denoising")
    for key in resolve(name).__pydantic_fields__  # pyright: ignore[reportAttributeAccessIssue]
]


# A pre-pass and a way to x_t that are as short as they may be.
SHORT = {"mask_batches": 1, "fisher_images": 1, "fisher_timesteps": 1, "partial_steps": 2}


def make_short(name: str) -> Any:
    kind: Any = resolve(name)
    return kind(**{key: n for key, n in SHORT.items() if key in kind.__pydantic_fields__})


def field(name: str, key: str) -> Any:
    kind: Any = resolve(name)
    return kind.__pydantic_fields__[key]


NUMBERS = [(name, key) for name, key in FIELDS if field(name, key).annotation in (int, float)]


@pytest.mark.parametrize("name", names())
def test_builds_with_defaults_and_goes_through_json(name: str) -> None:
    kind: Any = resolve(name)
    method = kind()
    content = json.dumps(dataclasses.asdict(method))
    assert TypeAdapter(kind).validate_json(content, strict=True) == method
    assert kind.summary
    assert "\n" not in kind.summary


@pytest.mark.parametrize(("name", "key"), FIELDS)
def test_every_hyperparameter_says_what_it_is_in_a_sentence(name: str, key: str) -> None:
    description = field(name, key).description
    assert description and description[0].isupper() and description.endswith(".")


@pytest.mark.parametrize(("name", "key"), NUMBERS)
def test_every_number_has_a_range_and_is_refused_by_name_beyond_it(name: str, key: str) -> None:
    kind: Any = resolve(name)
    bounds = {type(bound): bound for bound in field(name, key).metadata}
    low = next(
        b.ge if isinstance(b, Ge) else b.gt for b in bounds.values() if isinstance(b, Ge | Gt)
    )
    high = next(
        b.le if isinstance(b, Le) else b.lt for b in bounds.values() if isinstance(b, Le | Lt)
    )
    for value in (low - 1, high + 1, math.nan, math.inf):
        with pytest.raises(ValidationError, match=key):
            kind(**{key: value})


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", TRAINED)
def test_loss_is_finite_and_only_active_networks_take_gradient(
    name: str,
    model: str,
    suited: Callable[..., Denoiser],
    make_context: Callable[..., StepContext],
) -> None:
    method = make_short(name)
    ctx = make_context(method, suited(method, **MODELS[model]))
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


@pytest.mark.parametrize("name", TRAINED)
def test_loss_runs_on_a_latent_transformer(
    name: str, tiny_dit: Callable[[], Denoiser], make_context: Callable[..., StepContext]
) -> None:
    method, denoiser = make_short(name), tiny_dit()
    if "images" in method.needs:
        pytest.skip("needs images of this model's size")
    ctx = make_context(method, denoiser)
    for phase in method.phases:
        assert torch.isfinite(method.loss(phase, ctx).total)


@pytest.mark.parametrize("kind", ["sd", "sd_v", "sd3"])
@pytest.mark.parametrize("name", [n for n in names() if "images" in resolve(n).forgets])
def test_image_methods_forget_under_prompts(
    name: str, kind: str, text_model: Callable[..., TextDenoiser]
) -> None:
    """On a text-to-image model, where every pair of latents has a prompt of its own."""
    method, denoiser = make_short(name), text_model(kind)
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(9, *denoiser.sample_shape, generator=generator)
    source = PairSource(
        bank=ImageBank(latents[3:], latents[:3], prior=0.3),
        retain_rows=4,
        forget_rows=round(method.forget_share * 4),
        seed=0,
        table=denoiser.encode(["red bag", "bag"]),
        shares=(0.5, 0.5),
    )
    losses = []
    for table in (source.table, denoiser.encode(["a cat", "bag"])):
        prompted = dataclasses.replace(source, table=table)
        ctx = StepContext(
            step=0,
            steps=10,
            batch=prompted.batch(0, Shard()),
            rng=RowRandom(0, Shard(), (4, source.forget_rows), "cpu"),
            networks=method.networks(denoiser),
            bank=prompted.bank,
        )
        terms = method.loss("student", ctx)
        terms.total.backward()
        gradients = [p.grad for p in ctx.networks["student"].network.parameters()]
        assert any(g is not None and g.abs().sum() > 0 for g in gradients)
        assert torch.isfinite(terms.total)
        losses.append(terms.total.detach())
    assert losses[0] != losses[1], "the prompts had no effect"


@pytest.mark.parametrize("name", [n for n in names() if n not in TRAINED])
def test_a_method_without_a_loss_edits_the_same_weights_twice(
    name: str, suited: Callable[..., Denoiser], make_context: Callable[..., StepContext]
) -> None:
    method = make_short(name)
    edited = []
    for _ in range(2):
        ctx = make_context(method, suited(method))
        before = ctx.networks[method.delivers].clone().network.state_dict()
        method.edit(ctx)
        edited.append(ctx.networks[method.delivers].network.state_dict())
        assert any(not edited[-1][k].equal(v) for k, v in before.items())
        assert all(v.isfinite().all() for v in edited[-1].values())
    assert all(v.equal(edited[1][k]) for k, v in edited[0].items())


@pytest.mark.parametrize("name", TRAINED)
def test_a_method_with_a_loss_edits_nothing(
    name: str, suited: Callable[..., Denoiser], make_context: Callable[..., StepContext]
) -> None:
    """Of its own: what a step changes is the update alone."""
    method = make_short(name)
    ctx = make_context(method, suited(method))
    before = {n: d.clone().network.state_dict() for n, d in ctx.networks.items()}
    method.edit(ctx)
    for other, weights in before.items():
        after = ctx.networks[other].network.state_dict()
        assert all(v.equal(after[k]) for k, v in weights.items())


@pytest.mark.parametrize("name", TRAINED)
def test_same_seed_gives_the_same_loss(
    name: str, suited: Callable[..., Denoiser], make_context: Callable[..., StepContext]
) -> None:
    method = make_short(name)
    denoiser = suited(method)
    for phase in method.phases[:1]:
        first, second = (method.loss(phase, make_context(method, denoiser)).total for _ in range(2))
        assert first.equal(second)


@pytest.mark.parametrize("name", names())
def test_ten_steps_change_the_trained_networks_and_nothing_else(
    name: str,
    suited: Callable[..., Denoiser],
    make_source: Callable[..., BatchSource],
    tmp_path: Path,
) -> None:
    method = make_short(name)
    denoiser = suited(method)
    before = {k: v.clone() for k, v in denoiser.network.state_dict().items()}
    settings = TrainSettings(steps=10, batch_size=4, learning_rate=1e-3, ema_decay=0.5)
    networks = method.networks(denoiser)
    source = make_source(method, denoiser)
    result = Trainer(method, networks, source, settings, tmp_path).run()
    after = result.denoiser.network.state_dict()
    assert any(not after[k].equal(v) for k, v in before.items())
    for k, v in denoiser.network.state_dict().items():
        assert v.equal(before[k]), "the pretrained model was changed"
    for other in set(networks) - {*method.phases, method.delivers}:
        for k, v in result.networks[other].network.state_dict().items():
            assert v.equal(before[k])


@pytest.mark.parametrize("name", TRAINED)
def test_a_method_guides_what_it_says_and_nothing_else(
    name: str, suited: Callable[..., Denoiser], make_context: Callable[..., StepContext]
) -> None:
    """A guided pass has twice the rows."""
    method = make_short(name)
    ctx = make_context(method, suited(method))
    rows: dict[str, list[int]] = {other: [] for other in ctx.networks}
    for other, denoiser in ctx.networks.items():
        denoiser.network.register_forward_pre_hook(
            lambda _module, args, other=other: rows[other].append(len(args[0]))
        )
    for phase in method.phases:
        method.loss(phase, ctx)
    for other, passed in rows.items():
        assert (max(passed, default=0) > ctx.batch.size) == method.guided(other)


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
