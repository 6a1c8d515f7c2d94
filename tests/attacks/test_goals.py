"""What counts as shown, on models whose answer is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch.testing import assert_close

from efface.attacks.labels import with_learned_rows, with_swapped_labels
from efface.attacks.picture_goal import NOISE_SHARES
from efface.attacks.questions import asking
from efface.attacks.weak import one_ascent_step, renamed
from efface.diffusion.sampling import MultiStep


def noisy(denoiser, count: int = 6):
    generator = torch.Generator().manual_seed(0)
    x_t = torch.randn((count, *denoiser.sample_shape), generator=generator)
    return x_t, torch.randint(0, 1000, (count,), generator=generator)


def test_a_model_of_one_picture_puts_it_back_and_no_other(point_mass, heart):
    sampler = MultiStep(4)
    assert heart.measure(point_mass, sampler, 10, 0).value == 1
    assert heart.control().measure(point_mass, sampler, 10, 0).value == 0


def test_the_noisiest_level_that_still_separates_is_chosen(point_mass, heart):
    chosen = heart.with_best_timestep(point_mass, None, 10, 0)
    assert chosen.timestep == int(NOISE_SHARES[-1] * 1000)


def test_a_picture_is_shown_within_the_distance(heart):
    picture = (heart.pictures + 1) / 2
    pixels = picture[0].numel()
    away = heart.distance / pixels**0.5
    near = picture + torch.where(picture > 0.5, -0.9 * away, 0.9 * away)
    far = picture + torch.where(picture > 0.5, -1.1 * away, 1.1 * away)
    assert heart.shown(torch.cat([picture, near, far])).tolist() == [True, True, False]


def test_examples_are_of_the_class_they_were_asked_for(digits, zero):
    forgotten = zero.forgotten(digits, 12, 0)
    assert list(forgotten.asked) == [0] * 12
    assert zero.shown((forgotten.x0 + 1) / 2).mean() > 0.8
    retained = zero.retained(digits, 18, 0)
    assert 0 not in retained.asked
    assert zero.shown((retained.x0 + 1) / 2).mean() < 0.2


def test_swapped_labels_mean_each_other_and_nothing_else_changes(tiny_unet):
    model = tiny_unet()
    swapped = with_swapped_labels(model, 2, 7)
    x_t, t = noisy(model)
    for asked, meant in ((2, 7), (7, 2), (5, 5)):
        own = swapped(x_t, t, swapped.encode([asked] * 6)).output
        assert torch.equal(own, model(x_t, t, model.encode([meant] * 6)).output)


def test_renaming_several_labels_renames_each(tiny_unet, zero):
    model = tiny_unet()
    weak = renamed(model, dataclasses.replace(zero, sought=[0, 3], others=[1, 2, 4]))
    x_t, t = noisy(model)
    for asked, meant in ((0, 1), (3, 2), (4, 4)):
        own = weak.denoiser(x_t, t, model.encode([asked] * 6)).output
        assert torch.equal(own, model(x_t, t, model.encode([meant] * 6)).output)


def test_only_learned_rows_move(tiny_unet, tiny_dit):
    for model in (tiny_unet(), tiny_dit()):
        learned, rows = with_learned_rows(model, [0], [1, 2])
        x_t, t = noisy(model, 4)
        assert_close(
            learned(x_t, t, learned.encode([1, 2, 3, 4])).output,
            model(x_t, t, model.encode([1, 2, 3, 4])).output,
        )
        learned(x_t, t, learned.encode([0] * 4)).output.square().sum().backward()
        moved = [n for n, p in learned.network.named_parameters() if p.grad is not None]
        assert len(moved) == len(rows) >= 1
        assert all(name.endswith(".rows") for name in moved)


def test_the_learned_rows_begin_at_the_mean_of_what_stays(tiny_unet):
    model = tiny_unet()
    _, (rows,) = with_learned_rows(model, [0], [1, 2])
    weight = model.network.class_embedding.weight
    assert_close(rows(torch.tensor([0]))[0], (weight[1] + weight[2]) / 2)


def test_a_fixed_question_is_the_same_as_asking(tiny_unet):
    model = tiny_unet()
    x_t, t = noisy(model)
    assert torch.equal(asking(model, 3)(x_t, t).output, model(x_t, t, model.encode([3] * 6)).output)


def test_the_weak_erasure_hides_at_least_half_by_one_step_of_equal_size(digits, zero):
    weak = one_ascent_step(digits, zero, 0)
    sampler = MultiStep(3)
    shown, hidden = (zero.measure(m, sampler, 12, 0).value for m in (digits, weak.denoiser))
    assert hidden <= shown / 2
    old = dict(digits.network.named_parameters())
    new = dict(weak.denoiser.network.named_parameters())
    # Where there was a gradient all weights moved by one and the same length.
    moves = torch.cat([(new[name] - old[name]).abs().flatten() for name in old])
    moves = moves[moves > 0].detach().numpy()
    assert np.allclose(moves, np.median(moves), rtol=0.05)
