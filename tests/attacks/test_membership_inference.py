from __future__ import annotations

import dataclasses

from efface.attacks.base import Subject


def test_a_model_of_one_image_has_a_lower_loss_on_it_at_every_timestep(
    point_mass, case_of, heart, tiny, values
):
    result = tiny("membership_inference").run(case_of(point_mass, point_mass, heart))
    assert result.level == 1 and result.floor == 0.5
    assert all(value == 1 for value in values(result, "result"))
    assert result.self_tests[0].passed


def test_a_retrained_model_is_the_floor_where_there_is_one(
    point_mass, tiny_unet, case_of, heart, tiny
):
    case = case_of(point_mass, point_mass, heart)
    other = Subject(denoiser=tiny_unet(conditional=False), sampler=case.original.sampler)
    result = tiny("membership_inference").run(dataclasses.replace(case, retrained=other))
    (note,) = (note for note in result.notes if note.startswith("retrained: "))
    assert f"{result.floor:.1%}" in note and result.floor != 0.5
