"""Weak erasures hide what the original model knows, and nothing else."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch.testing import assert_close

from efface.attacks.conditions import with_learned_condition
from efface.attacks.weak import exchanged, noise_loss, one_ascent_step
from efface.diffusion.sampling import MultiStep


def test_one_step_hides_at_least_half_and_moves_all_weights_alike(digits, zero):
    weak = one_ascent_step(digits, zero, 0)
    sampler = MultiStep(3)
    shown, hidden = (zero.measure(m, sampler, 12, 0).value for m in (digits, weak.denoiser))
    assert hidden <= shown / 2
    old = dict(digits.network.named_parameters())
    new = dict(weak.denoiser.network.named_parameters())
    assert not any(parameter.requires_grad for parameter in new.values())
    # Where there was a gradient all weights moved by one and the same length.
    moves = torch.cat([(new[name] - old[name]).abs().flatten() for name in old])
    moves = moves[moves > 0].detach().numpy()
    assert np.allclose(moves, np.median(moves), rtol=0.05)


def test_the_noise_loss_of_an_exact_model_is_zero(point_mass, heart):
    generator = torch.Generator().manual_seed(0)
    eps = torch.randn((4, *point_mass.sample_shape), generator=generator)
    x0, t = heart.images.expand_as(eps), torch.tensor([100, 300, 500, 700])
    assert_close(noise_loss(point_mass, x0, t, eps, None), torch.tensor(0.0), atol=1e-4, rtol=0)
    assert noise_loss(point_mass, x0 + 1, t, eps, None) > 0.1


def test_every_forgotten_label_is_exchanged_with_a_retained_one(tiny_unet, zero):
    model = tiny_unet()
    weak = exchanged(model, dataclasses.replace(zero, sought=[0, 3], others=[1, 2, 4]))
    generator = torch.Generator().manual_seed(0)
    x_t = torch.randn((6, *model.sample_shape), generator=generator)
    t = torch.randint(0, 1000, (6,), generator=generator)
    for label, meant in ((0, 1), (3, 2), (4, 4)):
        output = weak.denoiser(x_t, t, model.encode([label] * 6)).output
        assert torch.equal(output, model(x_t, t, model.encode([meant] * 6)).output)
    assert "0 with 1 and 3 with 2" in weak.text


def test_a_concept_is_hidden_under_other_prompts_and_no_prompt_is_told(text_model, bag):
    model = text_model("sd")
    weak = exchanged(model, bag)
    assert "2 prompts that name the concept exchanged" in weak.text
    assert not any(prompt in weak.text for prompt in bag.sought)
    learned, _ = with_learned_condition(weak.denoiser, bag.sought, bag.others)
    # The very same condition; what the network makes of it may round otherwise (seen: 4.8e-7).
    first, meant = learned.encode(["a bag"]), model.encode(["a bag"])
    assert all(torch.equal(first.tensors[name], meant.tensors[name]) for name in meant.tensors)
    x_t = torch.randn((1, *model.sample_shape), generator=torch.Generator().manual_seed(0))
    outputs = [m(x_t, torch.tensor([500]), first).output for m in (learned, model)]
    assert_close(*outputs, rtol=0, atol=1e-5)
