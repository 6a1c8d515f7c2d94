"""Saliency: which weights the images to forget depend on most."""

from collections.abc import Iterator, Mapping
from itertools import islice

import torch
from torch import Tensor

from efface.diffusion.denoiser import Denoiser
from efface.methods.base import StepContext, per_sample_sum
from efface.methods.labelled import Noised, noise_sides


def denoising_loss(denoiser: Denoiser, rows: Noised) -> Tensor:
    """|eps_theta(x_t, c) - eps|^2 of every row: (B,)."""
    return per_sample_sum((denoiser(rows.x_t, rows.t, rows.condition).eps - rows.eps).square())


def gradients(denoiser: Denoiser, loss: Tensor) -> dict[str, Tensor]:
    """The gradient of a loss by the parameter's name; zeros where it does not depend on one."""
    named = dict(denoiser.network.named_parameters())
    parts = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return {
        name: torch.zeros_like(parameter) if part is None else part
        for (name, parameter), part in zip(named.items(), parts, strict=True)
    }


def masked_gradient(denoiser: Denoiser, loss: Tensor, masks: Mapping[str, Tensor]) -> Tensor:
    """A scalar of the loss's value whose gradient is the loss's where a mask is True, else 0."""
    total = torch.zeros_like(loss)
    named = dict(denoiser.network.named_parameters())
    for name, part in gradients(denoiser, loss).items():
        kept = part.detach() * masks[name.removeprefix("module.")]  # where several processes train
        total = total + (kept * named[name]).sum()
    return total - total.detach() + loss.detach()


def summed_gradients(contexts: Iterator[StepContext], batches: int) -> dict[str, Tensor]:
    """The sum of the forget set's gradients over batches, each clipped to norm 1, by name."""
    total: dict[str, Tensor] = {}
    for ctx in islice(contexts, batches):
        _, forget = noise_sides(ctx)
        student = ctx.networks["student"]
        found = gradients(student, denoising_loss(student, forget).mean())
        norm = torch.nn.utils.get_total_norm(list(found.values())).clamp_min(1.0)
        for name, part in found.items():
            total[name] = total.get(name, torch.zeros_like(part)) + part / norm
    return total


def saliency_mask(scores: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """True for the `share` of all entries with the largest |score|, over all tensors jointly.

    Entries that are equal to the smallest of these are all in.
    """
    flat = torch.cat([score.abs().flatten() for score in scores.values()])
    count = round(share * len(flat))
    if count == 0:
        return {name: torch.zeros_like(score, dtype=torch.bool) for name, score in scores.items()}
    threshold = flat.kthvalue(len(flat) - count + 1).values
    return {name: score.abs() >= threshold for name, score in scores.items()}
