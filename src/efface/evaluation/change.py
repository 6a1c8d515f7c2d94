"""How far a model lies from the original one, whatever it was to forget."""

import contextlib
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from efface.data.batch import in_turn
from efface.diffusion.denoiser import ClassDenoiser, Denoiser
from efface.diffusion.weight_files import DIFFUSERS, find_variant, names_in, weights_wanted
from efface.evaluation.sample_sets import SampleSet, Subject, draw_kept
from efface.evaluation.store import Store
from efface.training.guard import energy_distance, spread

SAMPLES = 64
SEED = 6_000_000  # away from the seeds of training, evaluation and the guard in the loop
PROTOCOL = (
    f"weights: ||after - before|| / ||before||; samples: {SAMPLES} retained ones of each model, "
    f"sampled as the result is from the same noise, seeds {SEED} to {SEED + SAMPLES - 1}, their "
    "distance relative to that of different seeds; retained_distance: energy distance to samples "
    f"of the original model's own sampler, seeds {SEED + SAMPLES} to {SEED + 2 * SAMPLES - 1}"
)
BROKEN = f"outputs at three timesteps, noise of seed {SEED}, are not finite numbers"


def measure_change(
    result: Subject,
    original: Subject,
    retained: Sequence[Any] | None,
    store: Store,
    batch_size: int = SAMPLES,
) -> dict[str, float]:
    """How far a model's samples moved: "samples" and "retained_distance", each relative.

    Samples: mean distance between the two models' samples of the same seeds, by the
    result's sampler, over that between the original model's samples of different seeds. Retained
    distance: energy distance (0.01 good, 0.1 untrained, 4.8 grey for digits) between the result's
    samples and those that the original model's own sampler draws, of `retained` labels or prompts
    in turn (None: a model without conditions).
    """
    asked = None if retained is None else in_turn(retained, SAMPLES)
    seeds = range(SEED, SEED + SAMPLES)
    as_result = replace(original, sampler=result.sampler)

    def draw(subject: Subject, seeds: range) -> Tensor:
        samples = SampleSet(subject=subject, seeds=seeds, asked=asked, batch_size=batch_size)
        return draw_kept(samples, store, "looking for change").flatten(1)

    own, same = draw(result, seeds), draw(as_result, seeds)
    others = draw(original, range(SEED + SAMPLES, SEED + 2 * SAMPLES))
    return {
        "samples": float((own - same).norm(dim=1).mean() / spread(same)),
        "retained_distance": float(energy_distance(own, others)),
    }


def weight_change(after: Path, before: Path) -> float:
    """||after - before|| / ||before|| of the weights in two folders, read a tensor at a time.

    Infinite if they are not of the same network.
    """
    moved = size = 0.0
    with contextlib.ExitStack() as opened:
        new, old = (_tensors(folder, opened) for folder in (after, before))
        if new.keys() != old.keys():
            return math.inf
        for name, file in old.items():
            own, was = new[name].get_tensor(name).double(), file.get_tensor(name).double()
            if own.shape != was.shape:
                return math.inf
            moved += float((own - was).square().sum())
            size += float(was.square().sum())
    return math.sqrt(moved / size)


def _tensors(folder: Path, opened: contextlib.ExitStack) -> dict[str, Any]:
    """The file of every tensor, by the tensor's name."""
    found: dict[str, Any] = {}
    variant = find_variant(str(folder), DIFFUSERS, names_in(folder))
    for name in weights_wanted(folder, DIFFUSERS, variant):
        file = opened.enter_context(safe_open(folder / name, "pt"))
        found |= dict.fromkeys(file.keys(), file)
    return found


def is_broken(subject: Subject, store: Store) -> bool:
    """Whether a network holds what is no finite number, or says it at three timesteps."""
    key = None if subject.digest is None else {"model": subject.digest, "measured": "finite"}
    return not store.measured(key, lambda: {"finite": _says_numbers(subject.denoiser)})["finite"]


@torch.inference_mode()
def _says_numbers(denoiser: Denoiser) -> np.ndarray:
    if not all(weight.isfinite().all() for weight in denoiser.network.state_dict().values()):
        return np.array(False)
    denoiser.network.eval()
    last = denoiser.schedule.num_timesteps - 1
    t = torch.tensor([0, last // 2, last], device=denoiser.device)
    generator = torch.Generator().manual_seed(SEED)
    noise = torch.randn((3, *denoiser.sample_shape), generator=generator).to(denoiser.device)
    asked = None
    if isinstance(denoiser, ClassDenoiser):
        asked = denoiser.encode(denoiser.labels[:1] * 3)
    return denoiser(noise, t, asked).output.isfinite().all().cpu().numpy()
