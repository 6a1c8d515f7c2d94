"""Guidance and dropout of conditions in SFD: what each of its phases asks for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from efface.diffusion.denoiser import Condition, Denoiser
from efface.methods.sfd import SFD
from tests.methods.test_sfd import (
    FORGET,
    RETAIN,
    make_batch,
    make_context,
    recorded,
)

Make = Callable[..., Denoiser]


@pytest.mark.parametrize("field", ["teacher_guidance", "fake_score_guidance"])
def test_guidance_enters_the_student_loss(tiny_unet: Make, field: str) -> None:
    denoiser = tiny_unet()
    batch = make_batch(denoiser)
    ctx = make_context(denoiser, batch)
    method = SFD(**{field: 3.0})
    name = field.removesuffix("_guidance")
    with recorded(ctx) as calls:
        method.loss("student", ctx)
    labels = calls.inputs[name][0][2]
    assert len(labels) == 2 * batch.size  # null and asked as one batch
    assert labels[: batch.size].tolist() == [10] * batch.size


def test_guidance_enters_the_training_of_the_fake_score(tiny_unet: Make) -> None:
    denoiser = tiny_unet()
    batch = make_batch(denoiser)
    plain, guided = make_context(denoiser, batch), make_context(denoiser, batch)
    a = SFD().loss("fake_score", plain).total
    b = SFD(fake_score_training_guidance=2.0).loss("fake_score", guided).total
    assert not torch.isclose(a, b)


def test_condition_dropout_asks_student_and_fake_score_for_the_same(tiny_unet: Make) -> None:
    denoiser = tiny_unet()
    batch = make_batch(denoiser, 200, 200)
    ctx = make_context(denoiser, batch)
    with recorded(ctx) as calls:
        SFD(fake_score_condition_dropout=0.25).loss("fake_score", ctx)
    student, fake_score = calls.inputs["student"][0][2], calls.inputs["fake_score"][0][2]
    assert student.equal(fake_score)
    assert 0.15 < float((student == 10).float().mean()) < 0.35


def rows_without_condition(tiny_unet: Make, method: SFD, phase: str) -> dict[str, list[bool]]:
    """Which rows each network was asked for no class in one phase."""
    denoiser = tiny_unet()
    ctx = make_context(denoiser, make_batch(denoiser, 200, 200))
    with recorded(ctx) as calls:
        method.loss(phase, ctx)
    return {
        name: (labels == denoiser.null_label).tolist()
        for name, given in calls.inputs.items()
        for _, _, labels in given
    }


@pytest.mark.parametrize("phase", SFD.phases)
@pytest.mark.parametrize("dropped_in", SFD.phases)
def test_condition_dropout_is_of_its_own_phase_alone(
    tiny_unet: Make, phase: str, dropped_in: str
) -> None:
    """Of the fake score's phase as documented; in it no row of the student's phase is dropped."""
    method = SFD(**{f"{dropped_in}_condition_dropout": 0.25})
    found = rows_without_condition(tiny_unet, method, phase)
    networks = {"student", "fake_score"} | ({"teacher"} if phase == "student" else set())
    assert set(found) == networks
    for name, rows in found.items():
        assert len(rows) == 400
        if phase != dropped_in:
            assert not any(rows), name
        else:
            assert 0.15 < sum(rows) / 400 < 0.35
            assert rows == found["student"], name


def test_condition_dropout_of_a_shared_pass_is_the_same_rows_in_both_phases(
    tiny_unet: Make,
) -> None:
    denoiser = tiny_unet()
    ctx = make_context(denoiser, make_batch(denoiser, 200, 200))
    method = SFD(
        share_student_pass=True, fake_score_condition_dropout=0.25, student_condition_dropout=0.25
    )
    with recorded(ctx) as calls:
        for phase in method.phases:
            method.loss(phase, ctx)
    asked = [
        labels == denoiser.null_label for given in calls.inputs.values() for *_, labels in given
    ]
    assert len(asked) == 4  # student once, fake score twice, teacher
    assert all(rows.equal(asked[0]) for rows in asked)
    assert 0.15 < float(asked[0].float().mean()) < 0.35


def test_unlabelled_condition_rows_stay_where_no_dropout_is_asked(tiny_unet: Make) -> None:
    denoiser = tiny_unet()
    batch = make_batch(denoiser)
    ctx = make_context(denoiser, batch)
    condition, target = SFD()._asked(ctx, 0.0)
    assert isinstance(condition, Condition)
    assert isinstance(target, Condition)
    assert condition.tensors["class_labels"][RETAIN:].tolist() == [0] * FORGET
    assert target.tensors["class_labels"][RETAIN:].tolist() == [1] * FORGET
