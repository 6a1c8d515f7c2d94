from __future__ import annotations

import dataclasses

import torch

from efface.attacks.base import Subject
from efface.attacks.costs import Trial
from efface.attacks.goals import Examples
from efface.diffusion.sampling import MultiStep


def test_the_original_digits_recover_at_no_cost(digits, case_of, zero, tiny):
    result = tiny("relearning", steps=(1,), images=(1,), samples=30, sampling_steps=5).run(
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
    result = tiny("relearning", images=(1, 2, 3), steps=(1,)).run(case)
    few = {f"{name}_{k}_images" for name in ("result", "retrained") for k in (1, 2)}
    assert result.curve.lines.keys() == {"result", "retrained", "baseline", "weak", *few}
    used = {line: costs[0].images for line, costs in result.costs.items()}
    assert used["result_2_images"] == 2 and used["retrained"] == used["baseline"] == 3


def test_each_seed_is_attacked_with_other_examples_and_as_was_best(tiny_unet, case_of, zero, tiny):
    attack = tiny("relearning", learning_rates=(1e-4, 1e-3))
    again = attack.again(Trial(points=[], images=3, rate=1e-3), 2000)
    assert (again.seed, again.images, again.learning_rates) == (2000, (3,), (1e-3,))
    assert again.steps == attack.steps
    first, second = (zero.forgotten(tiny_unet(), 3, seed).x0 for seed in (0, 1000))
    assert not (first[:, None] == second[None]).flatten(2).all(2).any()


def test_real_images_are_relearned_from_where_there_are_any(tiny_unet, case_of, zero, tiny):
    model = tiny_unet()
    real = Examples(x0=torch.rand(2, *model.sample_shape) * 2 - 1, conditions=[0, 0])
    attack = tiny("relearning", images=(3,), steps=(1,))
    sampled = attack.run(case_of(model, model, zero))
    given = attack.run(case_of(model, model, dataclasses.replace(zero, real=real)))
    assert (sampled.examples, given.examples) == ("samples of the original model", "real images")
    assert sampled.curve.protocol.startswith("up to 3 samples of the original model")
    assert given.curve.protocol.startswith("up to 2 real images")
    assert given.costs["result"][0].images == 2  # as many as there are


def test_there_are_no_more_images_than_were_forgotten(tiny_unet, case_of, heart, tiny):
    model = tiny_unet(conditional=False)
    result = tiny("relearning", images=(1, 4), steps=(1,)).run(case_of(model, model, heart))
    assert len(heart.images) == 1
    assert result.costs["result"][0].images == 1
    assert "result_1_images" not in result.curve.lines
