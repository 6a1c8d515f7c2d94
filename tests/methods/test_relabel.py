"""Random label: nothing to learn where the other label is the label itself."""

from __future__ import annotations

from collections.abc import Callable

from efface.diffusion.denoiser import Denoiser
from efface.methods.base import StepContext
from efface.methods.relabel import Relabel


def test_a_label_that_gives_way_to_itself_has_no_gradient(
    tiny_unet: Callable[..., Denoiser], labelled_context: Callable[..., StepContext], gradients
) -> None:
    method, denoiser = Relabel(retain_weight=0.0), tiny_unet()
    denoiser.network.eval()
    ctx = labelled_context(method, denoiser, replacement=0)
    terms = method.loss("student", ctx)
    _, forget = gradients(terms, ctx.networks["student"])
    assert forget.abs().max() < 1e-5
    other = labelled_context(method, denoiser, replacement=1)
    _, moved = gradients(method.loss("student", other), other.networks["student"])
    assert moved.abs().max() > 1e-3


def test_a_step_brings_the_labels_prediction_nearer_to_the_others(
    tiny_unet: Callable[..., Denoiser], labelled_context: Callable[..., StepContext]
) -> None:
    method, denoiser = Relabel(retain_weight=0.0), tiny_unet()
    ctx = labelled_context(method, denoiser)
    student = ctx.networks["student"]
    before = method.loss("student", ctx).forget
    assert before is not None
    before.backward()
    for parameter in student.network.parameters():
        if parameter.grad is not None:
            parameter.data -= 1e-3 * parameter.grad
    fresh = labelled_context(method, denoiser, networks={"student": student})
    after = method.loss("student", fresh).forget
    assert after is not None and after < before
