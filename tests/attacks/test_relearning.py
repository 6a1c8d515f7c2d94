from __future__ import annotations

import dataclasses

from efface.attacks.base import Subject
from efface.diffusion.sampling import MultiStep


def test_the_original_digits_recover_at_no_cost(digits, case_of, zero, tiny):
    result = tiny("relearning", steps=(1,), samples=30, sampling_steps=5).run(
        case_of(digits, digits, zero)
    )
    assert [cost.budget for cost in result.costs["result"]] == [0, 0]
    assert result.self_tests[0].passed, result.self_tests[0].text
    assert result.level > 0.8 and result.floor < 0.2


def test_the_result_and_the_retrained_model_have_a_line_for_every_number_of_images(
    tiny_unet, case_of, zero, tiny
):
    model = tiny_unet()
    retrained = Subject(denoiser=tiny_unet(seed=1), sampler=MultiStep(4))
    case = dataclasses.replace(case_of(model, model, zero), retrained=retrained)
    result = tiny("relearning", images=(1, 2, 3)).run(case)
    few = {f"{name}_{k}_images" for name in ("result", "retrained") for k in (1, 2)}
    assert result.curve.lines.keys() == {"result", "retrained", "baseline", "weak", *few}
    used = {line: costs[0].images for line, costs in result.costs.items()}
    assert used["result_2_images"] == 2 and used["retrained"] == used["baseline"] == 3


def test_there_are_no_more_images_than_were_forgotten(tiny_unet, case_of, heart, tiny):
    model = tiny_unet(conditional=False)
    result = tiny("relearning", images=(1, 4)).run(case_of(model, model, heart))
    assert len(heart.images) == 1
    assert result.costs["result"][0].images == 1
    assert "result_1_images" not in result.curve.lines
