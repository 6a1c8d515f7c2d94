"""Labels as an attack changes them: exchanged or learned."""

from __future__ import annotations

import torch
from torch.testing import assert_close

from efface.attacks.conditions import with_exchanged_labels, with_learned_rows


def noisy(denoiser, count: int = 6):
    generator = torch.Generator().manual_seed(0)
    x_t = torch.randn((count, *denoiser.sample_shape), generator=generator)
    return x_t, torch.randint(0, 1000, (count,), generator=generator)


def test_exchanged_labels_mean_each_other_and_nothing_else_changes(tiny_unet):
    model = tiny_unet()
    changed = with_exchanged_labels(model, [(2, 7)])
    x_t, t = noisy(model)
    for label, meant in ((2, 7), (7, 2), (5, 5)):
        output = changed(x_t, t, changed.encode([label] * 6)).output
        assert torch.equal(output, model(x_t, t, model.encode([meant] * 6)).output)


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


def test_the_original_model_is_not_frozen_and_keeps_its_table(tiny_unet):
    model = tiny_unet()
    model.network.requires_grad_(True)
    table = model.network.class_embedding
    for copied in (with_learned_rows(model, [0], [1])[0], with_exchanged_labels(model, [(0, 1)])):
        assert copied.network is not model.network
    assert model.network.class_embedding is table
    assert all(parameter.requires_grad for parameter in model.network.parameters())


def test_the_learned_rows_begin_at_the_mean_of_retained_ones(tiny_unet):
    model = tiny_unet()
    _, (rows,) = with_learned_rows(model, [0], [1, 2])
    weight = model.network.class_embedding.weight
    assert_close(rows(torch.tensor([0]))[0], (weight[1] + weight[2]) / 2)
