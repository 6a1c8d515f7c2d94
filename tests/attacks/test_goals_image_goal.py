"""What counts as recovered, on a model whose answer is known."""

from __future__ import annotations

import dataclasses

import torch

from efface.attacks.goals import NOISE_SHARES
from efface.diffusion.sampling import MultiStep


def test_a_model_of_one_image_recovers_it_and_no_other(point_mass, heart):
    sampler = MultiStep(4)
    assert heart.measure(point_mass, sampler, 10, 0).value == 1
    assert heart.control().measure(point_mass, sampler, 10, 0).value == 0
    assert dataclasses.replace(heart, unseen=None).control() is None


def test_the_noisiest_level_that_still_separates_is_chosen(point_mass, heart):
    chosen = heart.with_best_timestep(point_mass, None, 10, 0)
    assert chosen.timestep == int(NOISE_SHARES[-1] * 1000)


def test_a_retrained_model_takes_the_place_of_unseen_images(point_mass, heart):
    alone = dataclasses.replace(heart, unseen=None)
    chosen = alone.with_best_timestep(point_mass, point_mass, 10, 0)
    assert chosen.timestep == int(NOISE_SHARES[-1] * 1000)  # nothing separates it from itself


def test_an_image_is_shown_within_the_distance(heart):
    image = (heart.images + 1) / 2
    away = heart.distance / image[0].numel() ** 0.5
    near = image + torch.where(image > 0.5, -0.9 * away, 0.9 * away)
    far = image + torch.where(image > 0.5, -1.1 * away, 1.1 * away)
    assert heart.shown(torch.cat([image, near, far])).tolist() == [True, True, False]


def test_examples_are_the_images_themselves_in_an_order_of_the_seed(heart, point_mass):
    assert torch.equal(heart.forgotten(point_mass, 9, 0).x0, heart.images)
    first, second = (heart.retained(point_mass, 12, seed).x0 for seed in (0, 1))
    assert not torch.equal(first, second)
    assert torch.equal(first.flatten().sort().values, second.flatten().sort().values)


def test_such_goals_have_no_conditions(heart, point_mass):
    assert heart.unconditioned(point_mass) is heart
    assert heart.condition(point_mass, 3) is None
    assert torch.equal(heart.originals(point_mass, 2, 0).x0, heart.forgotten(point_mass, 2, 0).x0)
