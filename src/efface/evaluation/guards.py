"""What a verdict must not overlook: a model that did not change, and one that fell apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from efface.evaluation.sample_sets import SampleSet, Subject, draw_kept
from efface.evaluation.store import Store
from efface.training.guard import energy_distance

NO_OP, COLLAPSE = "no-op", "collapse"
SAME = 0.01  # samples that moved less than this share of their spread are the same samples
UNLIKE = 0.5  # energy distance relative to the spread; digits: 0.01 good, 0.1 untrained, 4.8 grey
SAMPLES = 64
SEED = 6_000_000  # away from the seeds of training, evaluation and the guard in the loop


def measure_change(
    result: Subject,
    untouched: Subject,
    retained: Sequence[Any] | None,
    store: Store,
    batch_size: int = SAMPLES,
) -> dict[str, float]:
    """How far a model moved: "weights", "samples" and "retained_distance", each relative.

    Weights: norm of the difference over the norm of the untouched ones. Samples: mean distance
    between the two models' samples of the same seeds, drawn as the result is drawn, over that
    between untouched samples of different seeds. Retained distance: energy distance between the
    result's samples and untouched ones drawn by the untouched model's own sampler, of `retained`
    labels or prompts in turn (None: a model without conditions).
    """
    asked = None if retained is None else [retained[i % len(retained)] for i in range(SAMPLES)]
    seeds = range(SEED, SEED + SAMPLES)
    as_result = replace(untouched, sampler=result.sampler)

    def draw(subject: Subject, seeds: range) -> Tensor:
        samples = SampleSet(subject=subject, seeds=seeds, asked=asked, batch_size=batch_size)
        return draw_kept(samples, store, "looking for change").flatten(1)

    own, same = draw(result, seeds), draw(as_result, seeds)
    others = draw(untouched, range(SEED + SAMPLES, SEED + 2 * SAMPLES))
    spread = torch.cdist(same, same).sum() / (SAMPLES * (SAMPLES - 1))
    return {
        "weights": weight_change(result.denoiser.network, untouched.denoiser.network),
        "samples": float((own - same).norm(dim=1).mean() / spread),
        "retained_distance": float(energy_distance(own, others)),
    }


def weight_change(network: nn.Module, before: nn.Module) -> float:
    """||after - before|| / ||before|| over all parameters; infinite if they are not the same."""
    after, start = dict(network.named_parameters()), dict(before.named_parameters())
    if {n: p.shape for n, p in after.items()} != {n: p.shape for n, p in start.items()}:
        return math.inf
    with torch.no_grad():
        moved = sum(float((after[n] - start[n]).double().square().sum()) for n in start)
        size = sum(float(p.double().square().sum()) for p in start.values())
    return math.sqrt(moved / size)


def name_guards(change: dict[str, float]) -> list[str]:
    """Which guards a change calls; a change that is not a number is a collapse."""
    found = []
    if change["samples"] < SAME:
        found.append(NO_OP)
    if not change["retained_distance"] < UNLIKE:
        found.append(COLLAPSE)
    return found
