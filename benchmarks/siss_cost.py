"""What splitting a SISS step by arm saves, against the form with two backward passes.

    python benchmarks/siss_cost.py --out benchmarks/results/siss-cost.json

Both forms take the same rows in turns in one process; ratios are medians over rounds. Memory is
counted in parameter-sized buffers beside the parameters and their gradients.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from results_file import write_results
from torch import Tensor

from efface.data.batch import Batch, Side
from efface.data.images import ImageSet
from efface.data.randomness import RowRandom, Shard
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.schedule import NoiseSchedule
from efface.methods.base import StepContext
from efface.methods.gradient_rules import RelativeNorm
from efface.methods.siss import SISS
from efface.training.phase import GradientPair
from efface.zoo.build.images import new_denoiser
from efface.zoo.build.settings import NetworkSettings

SATURATED = 300  # timesteps: far images are told apart at all of them


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch-size", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows = [
        measure(size, share, arguments.batch_size, arguments.rounds)
        for size in (8, 14, 28)
        for share in (1 / 3, 0.0)
    ]
    for row in rows:
        print(
            f"{row['size']:2} pixels, {row['undecided']:.2f} undecided: forwards "
            f"{row['forwards_split']:.2f} against {row['forwards_whole']:.2f}, time "
            f"{row['time_ratio']:.2f}, difference {row['difference']:.1e}, "
            f"auto splits: {row['auto_splits']}, buffers {row['extra_buffers']:.2f}"
        )
    if arguments.out is not None:
        content = {
            "batch_size": arguments.batch_size,
            "rounds": arguments.rounds,
            "rows": rows,
        }
        write_results(arguments.out, [0], content)


def measure(size: int, share: float, count: int, rounds: int) -> dict[str, Any]:
    """Time, passes and gradients of both forms on the same rows."""
    denoiser = make_denoiser(size)
    x, a = make_pairs(size, share, count)
    steps = {
        how: make_step(denoiser, SISS(arm_split=how), x, a) for how in ("never", "always", "auto")
    }
    forms = {how: step() for how, step in steps.items()}
    whole, split = forms["never"]["gradient"], forms["always"]["gradient"]
    times: dict[str, list[float]] = {"never": [], "always": []}
    for turn in range(rounds):
        for how in ("never", "always") if turn % 2 else ("always", "never"):
            began = time.perf_counter()
            steps[how]()
            times[how].append(time.perf_counter() - began)
    ratios = [s / w for s, w in zip(times["always"], times["never"], strict=True)]
    return {
        "size": size,
        "undecided": forms["always"]["undecided"],
        "forwards_whole": forms["never"]["forwards"],
        "forwards_split": forms["always"]["forwards"],
        "seconds_whole": statistics.median(times["never"]),
        "seconds_split": statistics.median(times["always"]),
        "time_ratio": statistics.median(ratios),
        "difference": float((whole - split).norm() / whole.norm()),
        "auto_splits": forms["auto"]["forwards"] != forms["never"]["forwards"],
        "extra_buffers": forms["always"]["buffers"],
    }


def make_denoiser(size: int) -> Denoiser:
    torch.manual_seed(0)
    image = torch.zeros(1, 1, size, size, dtype=torch.uint8)
    settings = NetworkSettings(channels=(24, 48), attention=(False, True), schedule="linear")
    denoiser = new_denoiser(settings, ImageSet(images=image, labels=None), False)
    denoiser.network.train()
    schedule = denoiser.schedule
    return replace(
        denoiser, schedule=NoiseSchedule(schedule.alphas[:SATURATED], schedule.sigmas[:SATURATED])
    )


def make_pairs(size: int, share: float, count: int) -> tuple[Tensor, Tensor]:
    """Pairs of which `share` are equal, so never decided, and the others far apart."""
    torch.manual_seed(1)
    x = torch.rand(count, 1, size, size) * 2 - 1
    a = -x.sign()
    equal = torch.arange(count) < round(share * count)
    return x, torch.where(equal.view(-1, 1, 1, 1), x, a)


def make_step(
    denoiser: Denoiser, method: SISS, x: Tensor, a: Tensor
) -> Callable[[], dict[str, Any]]:
    """One step up to the combined gradient: everything but the optimizer's update."""
    network, parameters = denoiser.network, list(denoiser.network.parameters())
    accelerator, rule = Accelerator(), RelativeNorm(ratio=0.1)
    batch = Batch(retain=Side(size=len(x), x0=x), forget=Side(size=len(a), x0=a))
    last: Any = network.conv_out

    def step() -> dict[str, Any]:
        counts = {"forward": 0, "backward": 0}
        handles = [
            last.register_forward_hook(
                lambda *args: counts.update(forward=counts["forward"] + len(args[2]))
            ),
            last.register_full_backward_hook(
                lambda *args: counts.update(backward=counts["backward"] + len(args[2][0]))
            ),
        ]
        network.zero_grad(set_to_none=True)
        pair = GradientPair(parameters)
        rng = RowRandom(0, Shard(), (len(x), len(a)), "cpu")
        networks = {"student": denoiser}
        ctx = StepContext(step=0, steps=1, batch=batch, rng=rng, networks=networks)
        terms = method.loss("student", ctx)
        pair.backward(terms, 1.0)
        extra = sum(g.numel() for g in pair._forget if g is not None)
        pair.combine(rule, {}, accelerator)
        for handle in handles:
            handle.remove()
        grads = [p.grad for p in parameters if p.grad is not None]
        return {
            "gradient": torch.cat([g.flatten() for g in grads]),
            "forwards": (counts["forward"] + 2 * counts["backward"]) / len(x),
            "undecided": float(terms.logs["undecided"]),
            "buffers": extra / sum(p.numel() for p in parameters),
        }

    return step


if __name__ == "__main__":
    main()
