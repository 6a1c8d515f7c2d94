"""What samples are conditioned on, and what an attacker has at hand."""

from __future__ import annotations

import dataclasses

import torch

from efface.attacks.goals import REAL, SAMPLED, Examples
from efface.diffusion.sampling import MultiStep


def test_examples_are_of_the_class_that_they_are_conditioned_on(digits, zero):
    forgotten = zero.forgotten(digits, 12, 0)
    assert list(forgotten.conditions) == [0] * 12
    assert zero.shown((forgotten.x0 + 1) / 2).mean() > 0.8
    retained = zero.retained(digits, 18, 0)
    assert 0 not in retained.conditions
    assert zero.shown((retained.x0 + 1) / 2).mean() < 0.2


def test_the_first_examples_keep_their_conditions(tiny_unet):
    examples = Examples(x0=torch.zeros(3, 1, 8, 8), conditions=[4, 5, 6]).first(2)
    assert len(examples) == 2 and list(examples.conditions) == [4, 5]
    assert examples.encode(tiny_unet()).tensors["class_labels"].tolist() == [4, 5]
    assert Examples(x0=examples.x0).first(1).encode(tiny_unet(conditional=False)) is None


def test_real_images_take_the_place_of_samples_each_with_its_label(tiny_unet, zero):
    model = tiny_unet()
    images = torch.rand(5, *model.sample_shape) * 2 - 1
    real = Examples(x0=images, conditions=[0, 3, 0, 3, 0])
    goal = dataclasses.replace(zero, real=real, sought=[0, 3])
    assert (goal.examples, zero.examples) == (REAL, SAMPLED)
    some = goal.forgotten(model, 4, 0)
    assert len(some) == 4 and len(goal.forgotten(model, 9, 0)) == 5
    for x0, label in zip(some.x0, some.conditions, strict=True):
        (row,) = (i for i in range(5) if torch.equal(images[i], x0))
        assert real.conditions[row] == label
    assert not torch.equal(some.x0, goal.forgotten(model, 4, 1).x0)


def test_unconditioned_is_the_null_label_or_the_empty_prompt(tiny_unet, text_model, zero, bag):
    classes = tiny_unet()
    labels = zero.unconditioned(classes).condition(classes, 3).tensors["class_labels"]
    assert labels.tolist() == [classes.null_label] * 3
    words = text_model("sd").with_negative_prompt("a coat")
    condition, empty = bag.unconditioned(words).condition(words, 2), words.encode(["", ""])
    name = "encoder_hidden_states"
    assert torch.equal(condition.tensors[name], empty.tensors[name])


def test_without_a_null_label_retained_labels_take_its_place(tiny_unet, zero):
    model = dataclasses.replace(tiny_unet(), null_label=None)
    condition = zero.unconditioned(model).condition(model, 5)
    assert condition.tensors["class_labels"].tolist() == [1, 2, 3, 1, 2]


def test_the_control_is_sought_under_retained_conditions(digits, zero):
    control = zero.control()
    assert list(control.conditions) == list(zero.others)
    sampler = MultiStep(5)
    assert zero.measure(digits, sampler, 12, 0).value > 0.8
    assert control.measure(digits, sampler, 12, 0).value < 0.2


def test_a_protocol_says_what_samples_are_conditioned_on(zero, tiny_unet):
    sampler = MultiStep(5)
    assert "the forgotten label" in zero.describe(sampler)
    assert "retained labels" in zero.control().describe(sampler)
    assert "the null label" in zero.unconditioned(tiny_unet()).describe(sampler)
    assert all(part in zero.describe(sampler) for part in (sampler.describe(), zero.judge.name))
