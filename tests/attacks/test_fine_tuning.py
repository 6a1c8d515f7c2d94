"""What the fine-tuning attacks share."""

from __future__ import annotations

import dataclasses

from efface.attacks.base import Subject
from efface.diffusion.sampling import OneStep


def test_a_one_step_generator_is_sampled_in_one_step_and_in_many(tiny_unet, case_of, zero, tiny):
    model = tiny_unet()
    one_step = Subject(denoiser=model, sampler=OneStep(700))
    case = dataclasses.replace(case_of(model, model, zero), result=one_step)
    lines = tiny("relearning", steps=(1,)).run(case).curve.lines
    assert {"result", "result_multi_step", "result_1_images"} <= lines.keys()
    assert "baseline_multi_step" not in lines


def test_a_model_is_measured_before_training_and_at_every_step_named(
    tiny_unet, case_of, zero, tiny
):
    model = tiny_unet()
    result = tiny("relearning", steps=(1, 3)).run(case_of(model, model, zero))
    assert all([p.x for p in line] == [0, 1, 3] for line in result.curve.lines.values())
