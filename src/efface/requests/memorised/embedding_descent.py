"""Modify a prompt by descent on its embedding (Wen et al., ICLR 2024, section 4.3)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from efface.diffusion.denoiser import Condition, Denoiser
from efface.diffusion.sampling import rows_at_once
from efface.requests.memorised.sampling import repeat
from efface.requests.memorised.searching import Prober, Tried, bisect
from efface.requests.memorised.text_noise import first_noise, first_outputs, text_noise

EMBEDDED = "encoder_hidden_states"  # what every family's network is given, (B, tokens, D)
STEPS, RATE = 15, 0.05
WEIGHT_DECAY = 0.01  # AdamW's own, as in the published prototype
WEIGHT = 16  # rows of a batch without gradient that one row with a gradient counts as
LEVELS = 32  # between the two embeddings
ROUNDS = 3  # descents, each from where the last one ended
LOWER = 0.75  # target of each further descent, as a share of the one before


def descend(
    denoiser: Denoiser,
    condition: Condition,
    seeds: range,
    target: float,
    steps: int = STEPS,
    rate: float = RATE,
) -> tuple[Condition, list[float]]:
    """Lower the text-noise norm of one prompt (one row): the new condition, and norms on the way.

    AdamW on the embedding of all tokens but the first; the loss is the mean norm over `seeds`. It
    ends where that is at most `target`.
    """
    denoiser.network.eval()
    noise = first_noise(denoiser, seeds)
    parts = noise.split(rows_at_once(denoiser, len(noise), WEIGHT))
    start = condition.tensors[EMBEDDED]
    with torch.no_grad():
        nothing = denoiser.null(condition)
        null = [first_outputs(denoiser, part, repeat(nothing, len(part))) for part in parts]
    free = start[:, 1:].clone().requires_grad_()
    optimizer = torch.optim.AdamW([free], lr=rate, weight_decay=WEIGHT_DECAY)
    norms: list[float] = []
    with weights_frozen(denoiser.network):
        for _ in range(steps):
            norm, gradient = 0.0, torch.zeros_like(free)
            for part, without in zip(parts, null, strict=True):
                moved = with_embedding(condition, torch.cat([start[:, :1], free], 1))
                differences = text_noise(denoiser, part, repeat(moved, len(part)), without)
                loss = differences.sum() / len(noise)
                norm += float(loss.detach())
                gradient += torch.autograd.grad(loss, free)[0]
            norms.append(norm)
            if norm <= target:
                break
            free.grad = gradient
            optimizer.step()
    return with_embedding(condition, torch.cat([start[:, :1], free.detach()], 1)), norms


@contextmanager
def weights_frozen(network: nn.Module) -> Iterator[None]:
    """No parameter takes a gradient, so that nothing is kept for one."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    try:
        for parameter in trained:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


def with_embedding(condition: Condition, embedding: Tensor) -> Condition:
    return Condition({**condition.tensors, EMBEDDED: embedding})


def blend(condition: Condition, other: Condition, weight: float) -> Condition:
    """(1 - weight) of one embedding and `weight` of the other."""
    own, others = condition.tensors[EMBEDDED], other.tensors[EMBEDDED]
    return with_embedding(condition, torch.lerp(own, others, weight))


def modify_embedding(
    prober: Prober, condition: Condition, target: float, steps: int = STEPS, rate: float = RATE
) -> Condition | None:
    """Descend until copies are few, then bisect between the two embeddings.

    What is returned is what was tried last.
    """
    mild, strong = condition, condition
    for number in range(ROUNDS):
        # An image may be memorised at an ordinary norm: the same target would change nothing.
        lowered = target * LOWER**number
        strong, _ = descend(
            prober.sampler.denoiser, strong, prober.norm_seeds, lowered, steps, rate
        )
        if prober.left < 1:
            return None
        tried = prober(strong, "embedding", weight=1.0)
        if prober.holds(tried):
            return strong
        if tried.share < prober.low:
            return _between(prober, mild, strong)
        mild = strong
    return None


def _between(prober: Prober, mild: Condition, strong: Condition) -> Condition | None:
    def probe(level: int) -> Tried:
        weight = (level + 1) / LEVELS
        return prober(blend(mild, strong, weight), "embedding", weight=weight)

    level = bisect(LEVELS - 1, probe, prober)
    return None if level is None else blend(mild, strong, (level + 1) / LEVELS)
