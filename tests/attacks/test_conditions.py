"""Labels and prompts alike."""

from __future__ import annotations

import dataclasses

import torch

from efface.attacks.conditions import (
    has_null,
    with_exchanged_conditions,
    with_learned_condition,
)


def noisy(model):
    x_t = torch.randn((2, *model.sample_shape), generator=torch.Generator().manual_seed(0))
    return x_t, torch.full((2,), 500)


def test_only_a_class_model_can_be_without_a_null_condition(tiny_unet, text_model):
    assert has_null(tiny_unet()) and has_null(text_model("sd"))
    assert not has_null(dataclasses.replace(tiny_unet(), null_label=None))


def test_exchanged_conditions_mean_each_other(tiny_unet, text_model):
    for model, one, other in ((tiny_unet(), 1, 4), (text_model("sd"), "a bag", "a cat")):
        changed = with_exchanged_conditions(model, [(one, other)])
        for condition, meant in ((one, other), (other, one)):
            outputs = [
                denoiser(*noisy(model), denoiser.encode([value] * 2)).output
                for denoiser, value in ((changed, condition), (model, meant))
            ]
            assert torch.equal(*outputs)


def test_what_is_learned_has_the_scale_of_an_embedding(tiny_unet, text_model):
    for model, sought, other in ((tiny_unet(), 0, 1), (text_model("sd"), "a bag", "a cat")):
        copied, learned = with_learned_condition(model, [sought], [other])
        assert learned and all(one.rows.requires_grad and one.scale > 0 for one in learned)
        assert not any(
            parameter.requires_grad
            for parameter in copied.network.parameters()
            if all(parameter is not one.rows for one in learned)
        )
