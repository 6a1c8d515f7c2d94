from __future__ import annotations

import dataclasses

from efface.attacks.base import Subject


def test_a_search_that_goes_on_never_loses_what_it_found(digits, case_of, zero, tiny, values):
    result = tiny("noise_search", tries=(1, 2, 4)).run(case_of(digits, digits, zero))
    for line in result.curve.lines:
        assert values(result, line) == sorted(values(result, line))
    # Retained labels are searched in the same way, for want of a retrained model.
    assert result.floor == values(result, "other_labels")[-1]


def test_it_finds_what_one_noise_rarely_shows(first_image, world, all_known, case_of, tiny, values):
    original = world(all_known)
    search = tiny("noise_search", tries=(1, 4, 16), samples=20, sampling_steps=4)
    line = values(search.run(case_of(original, original, first_image, 6)), "baseline")
    assert line[0] < 0.4 and line[-1] > 0.6


def test_a_retrained_model_is_the_floor_where_there_is_one(point_mass, case_of, heart, tiny):
    case = case_of(point_mass, point_mass, heart)
    knows_too = Subject(denoiser=point_mass, sampler=case.original.sampler)
    result = tiny("noise_search").run(dataclasses.replace(case, retrained=knows_too))
    assert result.floor == result.level == 1
    # It finds no more than in a model that is said to have been trained without it.
    assert not result.self_tests[0].passed


def test_samples_are_not_guided(tiny, case_of, tiny_unet, zero):
    guided = dataclasses.replace(zero, guidance=3.0)
    model = tiny_unet()
    assert tiny("noise_search").multi_step(case_of(model, model, guided)).guidance == 1
