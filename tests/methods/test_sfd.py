"""SFD against an independent float64 implementation of the closed form, and its invariants."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from efface.data import images
from efface.data.batch import Choices
from efface.data.source import BatchSource
from efface.diffusion.denoiser import Denoiser
from efface.methods.base import StepContext
from efface.methods.conditions import by_side
from efface.methods.sfd import SFD, sid_loss
from efface.training.settings import TrainSettings
from efface.training.trainer import Trainer

Make = Callable[..., Denoiser]
MakeContext = Callable[..., StepContext]
Recorded = Callable[[StepContext], AbstractContextManager[dict[str, list[tuple[Tensor, ...]]]]]
RETAIN, FORGET = 6, 4


def float64_eps(denoiser: Denoiser, x_t: Tensor, t: Tensor, labels: Tensor) -> Tensor:
    """The network's noise prediction, computed in float64."""
    network = denoiser.clone().network.double()
    # diffusers computes its sinusoidal time embedding in float32 whatever the model's type.
    output = network(x_t, t, class_labels=labels, return_dict=False)[0]
    abar = denoiser.schedule.alphas.double()[t].view(-1, 1, 1, 1) ** 2
    if denoiser.kind == "epsilon":
        return output
    if denoiser.kind == "v_prediction":
        return abar.sqrt() * output + (1 - abar).sqrt() * x_t
    return (x_t - abar.sqrt() * output) / (1 - abar).sqrt()


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_fake_score_loss_equals_the_closed_form_in_float64(
    tiny_unet: Make, sfd_context: MakeContext, recorded: Recorded, prediction: str
) -> None:
    denoiser = tiny_unet(prediction=prediction)
    ctx = sfd_context(denoiser)
    with recorded(ctx) as calls:
        terms = SFD(fake_score_forget_weight=0.3).loss("fake_score", ctx)
    z, t_init, labels = calls["student"][0]
    x_t, t, asked = calls["fake_score"][0]
    assert asked.equal(labels)
    student, fake_score = ctx.networks["student"], ctx.networks["fake_score"]
    a = denoiser.schedule.alphas.double()[t].view(-1, 1, 1, 1)
    b = (1 - a**2).sqrt()
    a0 = denoiser.schedule.alphas.double()[t_init].view(-1, 1, 1, 1)
    x = (z.double() - (1 - a0**2).sqrt() * float64_eps(student, z.double(), t_init, labels)) / a0
    eps = (x_t.double() - a * x) / b
    error = (eps - float64_eps(fake_score, x_t.double(), t, asked)).pow(2).sum((1, 2, 3))
    assert_close(terms.retain.double(), error[:RETAIN].mean(), rtol=1e-5, atol=0)
    assert terms.forget is not None
    assert_close(terms.forget.double(), 0.3 * error[RETAIN:].mean(), rtol=1e-5, atol=0)


def float64_cotangent(
    x: Tensor, p: Tensor, q: Tensor, alpha: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Loss per sample and its derivatives by p, q and x, in closed form (sfd 1.3)."""
    omega = (p - x).abs().mean((1, 2, 3), keepdim=True).clamp_min(1e-5)
    delta, r = p - q, p - x
    loss = ((1 - alpha) * delta**2 + delta * (q - x)) / omega
    by_p = (r + (1 - 2 * alpha) * delta) / omega
    by_q = (-r + 2 * alpha * delta) / omega
    return loss.sum((1, 2, 3)), by_p, by_q, -delta / omega


@pytest.mark.parametrize("shared", [False, True])
def test_of_several_replacements_the_students_noise_decides(
    tiny_unet: Make, sfd_context: MakeContext, recorded: Recorded, shared: bool
) -> None:
    denoiser = tiny_unet()
    ctx = sfd_context(denoiser)
    choices = Choices(
        table=denoiser.encode(range(1, 10)),
        rows=torch.arange(9).expand(FORGET, 9),
        counts=torch.tensor([9] * FORGET),
    )
    forget = replace(ctx.batch.forget, choices=choices)
    ctx = replace(ctx, batch=replace(ctx.batch, forget=forget))
    method = SFD(share_student_pass=shared)
    prepared = method.prepare(iter([ctx]))
    ctx = replace(ctx, prepared=prepared)
    with recorded(ctx) as calls:
        if shared:
            method.loss("fake_score", ctx)
        method.loss("student", ctx)
    z, _, labels = calls["student"][0]
    asked = calls["teacher"][0][2]
    assert asked[:RETAIN].equal(labels[:RETAIN])
    chosen = choices.of(z[RETAIN:], prepared["directions"])
    assert asked[RETAIN:].equal(chosen.tensors["class_labels"])
    assert all(seen.equal(asked) for _, _, seen in calls["fake_score"])


@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_student_loss_and_gradient_equal_the_closed_form_in_float64(
    tiny_unet: Make, sfd_context: MakeContext, recorded: Recorded, prediction: str, stop: bool
) -> None:
    denoiser = tiny_unet(prediction=prediction)
    ctx = sfd_context(denoiser)
    method = SFD(alpha=1.2, student_forget_weight=0.3, stop_score_gradient=stop)
    with recorded(ctx) as calls:
        terms = method.loss("student", ctx)
    terms.total.backward()

    z, t_init, labels = calls["student"][0]
    x_t, t, target = calls["teacher"][0]
    _, _, asked = calls["fake_score"][0]
    assert labels.equal(asked)
    assert target[RETAIN:].tolist() == [1] * FORGET  # the replacement, for the teacher alone
    assert asked[RETAIN:].tolist() == [0] * FORGET

    a = denoiser.schedule.alphas.double()[t].view(-1, 1, 1, 1)
    b = (1 - a**2).sqrt()
    a0 = denoiser.schedule.alphas.double()[t_init].view(-1, 1, 1, 1)
    student = ctx.networks["student"].clone()
    student.network.double().requires_grad_(True)

    def generate(network: torch.nn.Module) -> Tensor:
        output = network(z.double(), t_init, class_labels=labels, return_dict=False)[0]
        if prediction == "v_prediction":
            return a0 * z.double() - (1 - a0**2).sqrt() * output
        return (z.double() - (1 - a0**2).sqrt() * output) / a0

    x = generate(student.network)
    eps = ((x_t.double() - a * x) / b).detach()
    point = x.detach().requires_grad_(True)
    noisy = a * point + b * eps
    p = (noisy - b * float64_eps(ctx.networks["teacher"], noisy, t, target)) / a
    q = (noisy - b * float64_eps(ctx.networks["fake_score"], noisy, t, asked)) / a
    loss, by_p, by_q, by_x = float64_cotangent(point.detach(), p.detach(), q.detach(), 1.2)
    weights = torch.tensor([1 / RETAIN] * RETAIN + [0.3 / FORGET] * FORGET, dtype=torch.float64)
    row = weights.view(-1, 1, 1, 1)
    cotangent = row * by_x
    if not stop:
        cotangent = cotangent + torch.autograd.grad([p, q], point, [row * by_p, row * by_q])[0]
    x.backward(cotangent)

    assert_close(terms.total.double(), (weights * loss).sum(), rtol=1e-5, atol=0)
    own = torch.cat([p.grad.flatten() for p in ctx.networks["student"].network.parameters()])
    reference = torch.cat([p.grad.flatten() for p in student.network.parameters()])
    assert (own.double() - reference).norm() / reference.norm() <= 1e-5
    for name in ("teacher", "fake_score"):
        if name == "teacher":
            assert all(p.grad is None for p in ctx.networks[name].network.parameters())


def test_sid_loss_is_zero_where_teacher_and_fake_score_agree() -> None:
    x, p = torch.randn(3, 1, 4, 4), torch.randn(3, 1, 4, 4)
    assert sid_loss(x, p, p, 1.2).abs().max() == 0


def test_weight_omega_takes_no_gradient() -> None:
    x = torch.randn(2, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    p, q = torch.randn(2, 2, 1, 4, 4, dtype=torch.float64)
    sid_loss(x, p, q, 1.2).sum().backward()
    assert_close(x.grad, float64_cotangent(x.detach(), p, q, 1.2)[3])


def count_passes(ctx: StepContext, method: SFD) -> float:
    """Forwards' worth of one step in units of `retain` rows, as sfd 2.1 counts them.

    A backward costs 2 where weights take gradient and 1 where activations alone do.
    """
    rows = 0.0
    for phase in method.phases:
        for name, network in ctx.networks.items():
            network.network.requires_grad_(name in method.active(phase))
        outputs: list[tuple[str, Tensor]] = []
        handles = [
            d.network.register_forward_hook(
                lambda m, a, out, name=name, kept=outputs: kept.append((name, out[0]))
            )
            for name, d in ctx.networks.items()
        ]
        method.loss(phase, ctx).total.backward()
        for handle in handles:
            handle.remove()
        for name, out in outputs:
            carries = out.requires_grad
            rows += len(out) * (
                1 + (0 if not carries else 2 if name in method.active(phase) else 1)
            )
    return rows / ctx.batch.retain.size


def test_published_step_costs_22_forwards(tiny_unet: Make, sfd_context: MakeContext) -> None:
    assert count_passes(sfd_context(tiny_unet(), 8, 8), SFD()) == 22


def test_fast_step_costs_11_and_a_quarter_forwards(
    tiny_unet: Make, sfd_context: MakeContext
) -> None:
    fast = SFD(share_student_pass=True, forget_share=0.125)
    assert count_passes(sfd_context(tiny_unet(), 8, 1), fast) == 11.25


def test_shared_pass_gives_the_same_samples_to_both_phases(
    tiny_unet: Make, sfd_context: MakeContext, recorded: Recorded
) -> None:
    ctx = sfd_context(tiny_unet())
    method = SFD(share_student_pass=True)
    with recorded(ctx) as calls:
        method.loss("fake_score", ctx).total.backward()
        assert all(p.grad is None for p in ctx.networks["student"].network.parameters())
        method.loss("student", ctx).total.backward()
    assert len(calls["student"]) == 1
    assert all(p.grad is not None for p in ctx.networks["student"].network.parameters())


@pytest.mark.parametrize("rows", [2, 4, 16])
def test_share_of_forget_rows_leaves_the_expectation(
    tiny_unet: Make, sfd_context: MakeContext, rows: int
) -> None:
    """Every forget row has weight forget_weight / rows: a copy of a row changes nothing."""
    losses = torch.linspace(1, 3, RETAIN + rows)
    ctx = sfd_context(tiny_unet(), RETAIN, rows)
    terms = by_side(ctx, losses, 0.5)
    assert terms.forget is not None
    assert_close(terms.forget, 0.5 * losses[RETAIN:].mean())
    assert_close(terms.retain, losses[:RETAIN].mean())


def test_no_data_set_is_read(
    tiny_unet: Make,
    make_source: Callable[..., BatchSource],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """A whole step with every way to images shut."""
    denoiser = tiny_unet()

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("data were read")

    for name in ("load_images", "_digits", "_image_folder", "_table", "decode"):
        monkeypatch.setattr(images, name, refuse)
    real_import = builtins.__import__

    def importing(name: str, *args: object, **kwargs: object) -> object:
        assert not name.startswith(("datasets", "sklearn.datasets", "pyarrow")), name
        return real_import(name, *args, **kwargs)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(builtins, "__import__", importing)
    method = SFD(forget_share=0.5)
    source = make_source(method, denoiser)
    settings = TrainSettings(steps=2, batch_size=4, learning_rate=1e-3)
    result = Trainer(method, method.networks(denoiser), source, settings, tmp_path).run()
    assert result.steps == 2
