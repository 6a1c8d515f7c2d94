"""ESD against its formula, and the weights that its variants train."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from efface.data.source import ConditionSource
from efface.diffusion.denoiser import Denoiser, as_class_denoiser
from efface.diffusion.text.denoiser import TextDenoiser
from efface.errors import ConfigError, ModelError
from efface.methods.base import StepContext
from efface.methods.esd import ESD
from efface.requests.concept.request import ForgetConcept
from efface.runs.plan import make_plan
from efface.training.settings import TrainSettings
from efface.training.trainer import Trainer

Make = Callable[..., Denoiser]
MakeContext = Callable[..., StepContext]


def context(make: MakeContext, denoiser: Denoiser, method: ESD) -> StepContext:
    return replace(make(denoiser), networks=method.networks(denoiser))


def test_the_models_own_prediction_has_no_gradient(
    tiny_unet: Make, sfd_context: MakeContext, gradients
) -> None:
    """Eta -1, out of range by itself, makes the target the prediction under the condition."""
    method = ESD(partial_steps=1)
    object.__setattr__(method, "eta", -1.0)
    denoiser = tiny_unet()
    denoiser.network.eval()
    ctx = context(sfd_context, denoiser, method)
    ctx.networks["student"].network.eval()
    terms = method.loss("student", ctx)
    assert terms.forget is not None and terms.forget.item() < 1e-9
    assert gradients(terms, ctx.networks["student"])[1].abs().max() < 1e-5


@pytest.mark.parametrize("eta", [0.0, 1.0, 2.5])
def test_the_target_is_negative_guidance_on_the_original_models_path(
    tiny_unet: Make, sfd_context: MakeContext, recorded: Callable, eta: float
) -> None:
    method = ESD(eta=eta, partial_steps=2)
    ctx = context(sfd_context, tiny_unet(), method)
    with recorded(ctx) as calls:
        terms = method.loss("student", ctx)
    assert len(calls["teacher"]) == 4 and len(calls["student"]) == 1
    x_t, t, labels = calls["student"][0]
    assert set(labels.tolist()) == {0} and {10} == set(calls["teacher"][2][2].tolist())
    assert all(x_t.equal(seen) for seen, _, _ in calls["teacher"][2:])
    teacher, student = ctx.networks["teacher"].network, ctx.networks["student"].network
    with torch.no_grad():
        null = teacher(x_t, t, class_labels=torch.full_like(labels, 10)).sample
        own = teacher(x_t, t, class_labels=labels).sample
        expected = student(x_t, t, class_labels=labels).sample - (null - eta * (own - null))
    assert terms.forget is not None and float(terms.retain) == 0
    assert_close(terms.forget.detach(), expected.square().sum((1, 2, 3)).mean())


def test_a_model_without_a_null_condition_is_refused(tiny_unet: Make) -> None:
    with pytest.raises(ModelError, match="no null class"):
        ESD().networks(replace(as_class_denoiser(tiny_unet()), null_label=None))


@pytest.mark.parametrize("trained", ["cross_attention", "others"])
def test_variants_train_their_own_weights_alone(
    text_model: Callable[..., TextDenoiser], tmp_path: Path, trained: str
) -> None:
    method = ESD(partial_steps=1, trained=trained)  # pyright: ignore[reportArgumentType]
    denoiser = text_model("sd")
    source = ConditionSource(
        table=denoiser.encode(["red bag", "bag", "a cat"]),
        retain=[2],
        forget=[0, 1],
        replacements=[[2], [2]],
        retain_rows=2,
        forget_rows=2,
        seed=0,
    )
    settings = TrainSettings(steps=2, batch_size=2, learning_rate=1e-2, ema_decay=0.0)
    before = {k: v.clone() for k, v in denoiser.network.state_dict().items()}
    networks = method.networks(denoiser)
    result = Trainer(method, networks, source, settings, tmp_path).run()
    moved = {k for k, v in result.denoiser.network.state_dict().items() if not v.equal(before[k])}
    crossing = {k for k in before if ".attn2." in k}
    assert moved and crossing
    assert moved <= crossing if trained == "cross_attention" else not moved & crossing


def test_a_network_without_cross_attention_has_no_variants(
    tiny_unet: Make, sfd_context: MakeContext
) -> None:
    method = ESD(trained="cross_attention")
    with pytest.raises(ConfigError, match=r"method\.trained=cross_attention"):
        method.prepare(iter([context(sfd_context, tiny_unet(), method)]))


def test_a_negative_prompt_would_have_no_effect_and_is_refused(
    pipelines: Callable[[str], Path], keywords: Path
) -> None:
    request = ForgetConcept(concept="bag", negative=str(keywords))
    with pytest.raises(ConfigError, match="no effect"):
        make_plan(pipelines("sd"), request, method="esd")
