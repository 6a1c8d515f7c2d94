"""What the fine-tuning attacks share."""

from __future__ import annotations

import dataclasses

import torch

from efface.attacks.base import Subject
from efface.attacks.fine_tuning import ExampleSource
from efface.data.randomness import Shard
from efface.diffusion.sampling import OneStep


def test_every_example_comes_once_per_epoch_with_its_own_condition(tiny_unet):
    labels = torch.arange(6)
    source = ExampleSource(
        x0=labels.float().view(6, 1, 1, 1),
        condition=tiny_unet().encode(labels.tolist()),
        rows=3,
        seed=0,
    )
    batches = [source.batch(step, Shard()) for step in range(2)]
    rows = torch.cat([batch.retain.x0.flatten() for batch in batches])
    assert sorted(rows.tolist()) == labels.tolist()
    for batch in batches:
        condition = batch.retain.condition.tensors["class_labels"]
        assert condition.tolist() == batch.retain.x0.flatten().tolist()
        assert batch.forget.size == source.forget_rows == 0


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
