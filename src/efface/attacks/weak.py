"""Knowingly weak erasures: an attack that does not undo them cannot be trusted with others."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from efface.attacks.conditions import with_exchanged_conditions
from efface.attacks.goals import ConditionGoal, Goal
from efface.data.batch import in_turn
from efface.data.randomness import derive_seed
from efface.diffusion.denoiser import Condition, Denoiser
from efface.diffusion.sampling import MultiStep, rows_at_once

ROWS = 64
BACKWARD = 8  # times the memory of a pass without gradient, about
SAMPLES = 100
STEPS = 20
RATES = tuple(2e-5 * 2**i for i in range(10))  # how far every weight moves, to 1e-2


@dataclass(frozen=True, eq=False, kw_only=True)
class WeakErasure:
    denoiser: Denoiser
    text: str  # how it was made


def noise_loss(
    denoiser: Denoiser, x0: Tensor, t: Tensor, eps: Tensor, condition: Condition | None
) -> Tensor:
    """Squared error of the predicted noise, mean over pixels and rows (Ho et al., 2020, eq. 14)."""
    x_t = denoiser.schedule.add_noise(x0, eps, t)
    return (denoiser(x_t, t, condition).eps - eps).square().mean()


def one_ascent_step(original: Denoiser, goal: Goal, seed: int) -> WeakErasure:
    """NegGrad at one step: Adam's first step up the denoising loss of what is forgotten.

    Its length is the first of RATES at which the model shows at most half
    of what the original one does, or the last. That only hides what the model knows, and an attack
    must find it.
    """
    sampler = MultiStep.within(original, STEPS, goal.guidance)
    before = goal.measure(original, sampler, SAMPLES, seed).value
    ascended = original.clone()
    network: Any = ascended.network
    directions = _ascent_directions(ascended, original, goal, seed)
    start, shown, rate = copy.deepcopy(network.state_dict()), None, RATES[0]
    for rate in RATES:
        network.load_state_dict(start)
        for name, parameter in network.named_parameters():
            if name in directions:
                parameter.add_(directions[name], alpha=rate)
        shown = goal.measure(ascended, sampler, SAMPLES, seed)
        if shown.value <= before / 2:
            break
    assert shown is not None
    text = (
        "the original model after one step of NegGrad that moves every weight by "
        f"{rate:.2g}: shows it in {shown.value:.0%} of samples (original model: {before:.0%})"
    )
    return WeakErasure(denoiser=ascended, text=text)


def _ascent_directions(
    ascended: Denoiser, original: Denoiser, goal: Goal, seed: int
) -> dict[str, Tensor]:
    """Signs of the gradient on forgotten examples, by parameter; the network is frozen after."""
    network: Any = ascended.network
    network.eval()
    examples = goal.forgotten(original, ROWS, seed)
    rows = torch.tensor(in_turn(range(len(examples)), ROWS))
    generator = torch.Generator().manual_seed(derive_seed(seed, "weak"))
    t = torch.randint(original.schedule.num_timesteps, (ROWS,), generator=generator)
    eps = torch.randn((ROWS, *original.sample_shape), generator=generator)
    condition, rows = examples.encode(original), rows.to(original.device)
    condition = None if condition is None else condition[rows]
    x0 = examples.x0.to(original.device)[rows]
    t, eps = t.to(x0.device), eps.to(x0.device)
    for part in torch.arange(ROWS).split(rows_at_once(original, ROWS, BACKWARD)):
        some = None if condition is None else condition[part.to(x0.device)]
        loss = noise_loss(ascended, x0[part], t[part], eps[part], some)
        (loss * len(part) / ROWS).backward()
    directions = {n: p.grad.sign() for n, p in network.named_parameters() if p.grad is not None}
    network.requires_grad_(False).zero_grad()
    return directions


def exchanged(original: Denoiser, goal: ConditionGoal) -> WeakErasure:
    """Every forgotten condition exchanged with a retained one, nothing else changed."""
    pairs = list(zip(goal.sought, goal.others, strict=False))
    return WeakErasure(
        denoiser=with_exchanged_conditions(original, pairs),
        text=f"the original model with {goal.describe_exchange(pairs)}, nothing else changed",
    )
