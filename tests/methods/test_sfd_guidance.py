"""Guidance and dropout of conditions in SFD: what each of its phases asks for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
from torch import Tensor

from efface.diffusion.denoiser import Condition, Denoiser
from efface.methods.base import StepContext
from efface.methods.sfd import SFD

Make = Callable[..., Denoiser]
MakeContext = Callable[..., StepContext]
Calls = dict[str, list[tuple[Tensor, Tensor, Tensor]]]
Recorded = Callable[[StepContext], AbstractContextManager[Calls]]
NULL = 10


def labels_of(condition: Condition | None) -> Tensor:
    assert condition is not None
    return condition.tensors["class_labels"]


@pytest.mark.parametrize("field", ["teacher_guidance", "fake_score_guidance"])
def test_guidance_enters_the_student_loss(
    tiny_unet: Make, sfd_context: MakeContext, recorded: Recorded, field: str
) -> None:
    ctx = sfd_context(tiny_unet())
    method = SFD(**{field: 3.0})
    with recorded(ctx) as calls:
        method.loss("student", ctx)
    labels = calls[field.removesuffix("_guidance")][0][2]
    size = ctx.batch.size
    assert len(labels) == 2 * size  # without and with the condition, as one batch
    assert labels[:size].tolist() == [NULL] * size


def test_guidance_enters_the_training_of_the_fake_score(
    tiny_unet: Make, sfd_context: MakeContext
) -> None:
    denoiser = tiny_unet()
    plain, guided = sfd_context(denoiser), sfd_context(denoiser)
    a = SFD().loss("fake_score", plain).total
    b = SFD(fake_score_training_guidance=2.0).loss("fake_score", guided).total
    assert not torch.isclose(a, b)


def test_condition_dropout_is_the_same_for_student_and_fake_score(
    tiny_unet: Make, sfd_context: MakeContext, recorded: Recorded
) -> None:
    ctx = sfd_context(tiny_unet(), 200, 200)
    with recorded(ctx) as calls:
        SFD(fake_score_condition_dropout=0.25).loss("fake_score", ctx)
    student, fake_score = calls["student"][0][2], calls["fake_score"][0][2]
    assert student.equal(fake_score)
    assert 0.15 < float((student == NULL).float().mean()) < 0.35


@pytest.mark.parametrize("phase", SFD.phases)
@pytest.mark.parametrize("dropped_in", SFD.phases)
def test_condition_dropout_is_of_its_own_phase_only(
    tiny_unet: Make, sfd_context: MakeContext, recorded: Recorded, phase: str, dropped_in: str
) -> None:
    """Of the fake score's phase as documented; in it no row of the student's phase is dropped."""
    method, ctx = (
        SFD(**{f"{dropped_in}_condition_dropout": 0.25}),
        sfd_context(tiny_unet(), 200, 200),
    )
    with recorded(ctx) as calls:
        method.loss(phase, ctx)
    networks = {"student", "fake_score"} | ({"teacher"} if phase == "student" else set())
    dropped = {name: passes[0][2] == NULL for name, passes in calls.items() if passes}
    assert set(dropped) == networks
    for name, rows in dropped.items():
        assert len(calls[name]) == 1 and len(rows) == 400
        if phase != dropped_in:
            assert not rows.any(), name
        else:
            assert 0.15 < float(rows.float().mean()) < 0.35
            assert rows.equal(dropped["student"]), name


@pytest.mark.parametrize("phase", SFD.phases)
def test_condition_dropout_leaves_forget_rows_of_labels_alone_as_published(
    tiny_unet: Make, sfd_context: MakeContext, recorded: Recorded, phase: str
) -> None:
    """DDPM/runners/diffusion.py drops no forget row; SD/training/training_loop.py drops both.

    Retained rows lose their condition where they did.
    """
    method = SFD(fake_score_condition_dropout=0.25, student_condition_dropout=0.25)
    dropped = []
    for reaches_forget in (True, False):
        ctx = sfd_context(tiny_unet(), 200, 200, forget_dropout=reaches_forget)
        with recorded(ctx) as calls:
            method.loss(phase, ctx)
        rows = {name: passes[0][2] == NULL for name, passes in calls.items() if passes}
        for other in rows.values():
            assert other.equal(rows["student"])
        dropped.append(rows["student"])
    assert dropped[0][:200].equal(dropped[1][:200])
    assert dropped[0][200:].any()
    assert dropped[1][:200].any() and not dropped[1][200:].any()


def test_condition_dropout_of_a_shared_pass_is_the_same_rows_in_both_phases(
    tiny_unet: Make, sfd_context: MakeContext, recorded: Recorded
) -> None:
    ctx = sfd_context(tiny_unet(), 200, 200)
    method = SFD(
        share_student_pass=True, fake_score_condition_dropout=0.25, student_condition_dropout=0.25
    )
    with recorded(ctx) as calls:
        for phase in method.phases:
            method.loss(phase, ctx)
    dropped = [labels == NULL for passes in calls.values() for *_, labels in passes]
    assert len(dropped) == 4  # student once, fake score twice, teacher
    assert all(rows.equal(dropped[0]) for rows in dropped)
    assert 0.15 < float(dropped[0].float().mean()) < 0.35


def test_conditions_are_the_batchs_own_without_dropout(
    tiny_unet: Make, sfd_context: MakeContext
) -> None:
    ctx = sfd_context(tiny_unet(), 6, 4)
    condition, target = SFD()._conditions(ctx, 0.0)
    assert labels_of(condition)[6:].tolist() == [0] * 4
    assert labels_of(target)[6:].tolist() == [1] * 4


def test_what_is_guided_is_declared() -> None:
    assert not any(SFD().guided(name) for name in ("teacher", "fake_score", "student"))
    assert not SFD().guides_teacher
    teacher = SFD(teacher_guidance=1.5)
    assert teacher.guides_teacher and teacher.guided("teacher") and not teacher.guided("fake_score")
    weak = SFD(teacher_guidance=0.5)  # passes twice the rows, and leads to the null condition
    assert weak.guided("teacher") and not weak.guides_teacher
    for name in ("fake_score_guidance", "fake_score_training_guidance"):
        method = SFD(**{name: 2.0})
        assert method.guided("fake_score") and not method.guided("teacher")
        assert not method.guides_teacher
