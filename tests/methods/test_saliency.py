"""Saliency masks: the largest entries over all tensors jointly, and the gradients they are of."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.testing import assert_close

from efface.diffusion.denoiser import Denoiser, UnconditionalDenoiser
from efface.methods.base import StepContext
from efface.methods.relabel import Relabel
from efface.methods.saliency import (
    denoising_loss,
    gradients,
    noise_sides,
    saliency_mask,
    summed_gradients,
)


def test_the_mask_is_the_largest_entries_of_all_tensors() -> None:
    scores = {"a": torch.tensor([[-9.0, 1.0], [2.0, -3.0]]), "b": torch.tensor([4.0, 0.0])}
    found = saliency_mask(scores, 0.5)
    assert found["a"].tolist() == [[True, False], [False, True]]
    assert found["b"].tolist() == [True, False]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.5, 0.9, 1.0])
def test_the_mask_holds_its_share(share: float) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = {
        str(n): torch.randn(*shape, generator=generator)
        for n, shape in enumerate([(40, 10), (100,), (5, 5, 20)])
    }
    mask = torch.cat([part.flatten() for part in saliency_mask(scores, share).values()])
    values = torch.cat([part.flatten() for part in scores.values()]).abs()
    assert int(mask.sum()) == round(share * 1000)
    if 0 < share < 1:
        assert values[mask].min() >= values[~mask].max()


def test_equal_scores_are_all_in() -> None:
    """So that a mask does not depend on the order of the weights."""
    found = saliency_mask({"a": torch.tensor([1.0, 1.0, 1.0, 0.0])}, 0.5)
    assert found["a"].tolist() == [True, True, True, False]


def test_gradients_are_named_and_complete(linear: UnconditionalDenoiser) -> None:
    theta = linear.network.get_parameter("theta")
    found = gradients(linear, (theta[:2] * torch.tensor([2.0, -1.0])).sum())
    assert found["theta"].tolist() == [2.0, -1.0, 0.0]
    untouched = gradients(linear, (theta * 0).sum() + torch.ones((), requires_grad=True))
    assert untouched["theta"].tolist() == [0.0, 0.0, 0.0]


def test_gradients_of_batches_are_clipped_and_summed_with_their_signs(
    tiny_unet: Callable[..., Denoiser], labelled_context: Callable[..., StepContext]
) -> None:
    denoiser = tiny_unet()
    total, networks = None, Relabel().networks(denoiser)
    for _ in range(2):
        ctx = labelled_context(Relabel(), denoiser, networks=networks)
        _, forget = noise_sides(ctx)
        student = networks["student"]
        loss = denoising_loss(student, forget).mean()
        parts = torch.autograd.grad(loss, list(student.network.parameters()), allow_unused=True)
        flat = torch.cat(
            [
                torch.zeros_like(p).flatten() if g is None else g.flatten()
                for g, p in zip(parts, student.network.parameters(), strict=True)
            ]
        )
        assert flat.norm() > 1
        flat = flat / flat.norm()
        total = flat if total is None else total + flat
    contexts = (labelled_context(Relabel(), denoiser, networks=networks) for _ in range(5))
    found = summed_gradients(contexts, 2)
    assert total is not None
    assert_close(torch.cat([part.flatten() for part in found.values()]), total)
