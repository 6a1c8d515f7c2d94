"""Redirection against its formula, and where it has nothing to change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from torch.testing import assert_close

from efface.diffusion.denoiser import Denoiser
from efface.diffusion.sampling import first_timestep
from efface.methods.base import StepContext
from efface.methods.conditions import guide_teacher
from efface.methods.redirection import Redirection

Make = Callable[..., Denoiser]
MakeContext = Callable[..., StepContext]


def context(make: MakeContext, denoiser: Denoiser, method: Redirection) -> StepContext:
    return replace(make(denoiser), networks=method.networks(denoiser))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_a_model_that_is_not_to_change_has_no_loss(
    tiny_unet: Make, sfd_context: MakeContext, prediction: str
) -> None:
    method = Redirection(partial_steps=2)
    ctx = context(sfd_context, tiny_unet(prediction=prediction), method)
    assert method.loss("student", ctx).retain.item() == 0.0
    same = replace(ctx.batch.forget, target=ctx.batch.forget.condition)
    ctx = replace(ctx, batch=replace(ctx.batch, forget=same))
    terms = method.loss("student", ctx)
    assert terms.forget is not None and terms.forget.item() == 0.0


def test_the_loss_is_the_difference_of_both_predictions_on_the_students_path(
    tiny_unet: Make, sfd_context: MakeContext, recorded: Callable
) -> None:
    method = Redirection(partial_steps=3, forget_weight=0.3)
    ctx = context(sfd_context, tiny_unet(), method)
    with recorded(ctx) as calls:
        terms = method.loss("student", ctx)
    assert len(calls["student"]) == 4 and len(calls["teacher"]) == 1
    z, first, _ = calls["student"][0]
    x_t, t, labels = calls["student"][-1]
    same_x, same_t, targets = calls["teacher"][0]
    assert (
        x_t.equal(same_x)
        and t.equal(same_t)
        and set(first.tolist()) == {first_timestep(tiny_unet())}
    )
    student, teacher = ctx.networks["student"], ctx.networks["teacher"]
    levels = student.schedule
    x, at = z, first
    for step in range(1, 4):  # DDIM by hand
        to = first + (t - first) * step // 3
        eps = student.network(x, at, class_labels=labels).sample
        a, s, b, r = (
            v.view(-1, 1, 1, 1)
            for v in (levels.alphas[at], levels.sigmas[at], levels.alphas[to], levels.sigmas[to])
        )
        x, at = b * (x - s * eps) / a + r * eps, to
    assert_close(x, x_t, rtol=1e-3, atol=1e-3)
    own = student.network(x_t, t, class_labels=labels).sample
    other = teacher.network(x_t, t, class_labels=targets).sample
    errors = (own - other).pow(2).sum((1, 2, 3))
    retain = ctx.batch.retain.size
    assert_close(terms.retain, errors[:retain].mean())
    assert_close(terms.forget, 0.3 * errors[retain:].mean())


def test_the_teacher_is_guided_in_forget_rows_alone(
    tiny_unet: Make, sfd_context: MakeContext
) -> None:
    """Retained rows keep the teacher's own prediction; forget rows lie where guidance puts them."""
    plain, guided = (Redirection(partial_steps=1, teacher_guidance=w) for w in (1.0, 3.0))
    contexts = [context(sfd_context, tiny_unet(), method) for method in (plain, guided)]
    before, after = (
        method.loss("student", ctx) for method, ctx in zip((plain, guided), contexts, strict=True)
    )
    assert before.retain.item() < 1e-9 and after.retain.item() < 1e-9
    assert before.forget is not None and after.forget is not None
    assert after.forget > 2 * before.forget
    everywhere = guide_teacher(contexts[1], contexts[1].batch.target, 3.0)
    assert everywhere == (3.0, None)


def test_without_forget_rows_there_is_one_term(tiny_unet: Make, sfd_context: MakeContext) -> None:
    method, denoiser = Redirection(partial_steps=1), tiny_unet()
    ctx = replace(sfd_context(denoiser, forget=0), networks=method.networks(denoiser))
    assert method.loss("student", ctx).forget is None
