"""What one SFD iteration costs: in network forwards, and against the same passes made bare.

    python benchmarks/step_cost.py --out benchmarks/results/step-cost.json

Everything that is compared is measured in turns in one process; ratios are medians over rounds.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from results_file import write_results
from torch import Tensor

import efface
from efface.data.source import ConditionSource
from efface.diffusion.denoiser import ClassDenoiser, as_class_denoiser
from efface.methods.sfd import SFD
from efface.training.settings import TrainSettings
from efface.training.trainer import Trainer

SETTINGS = {
    "published": SFD(),
    "shared pass": SFD(share_student_pass=True),
    "fast (shared pass, forget share 1/8)": SFD(share_student_pass=True, forget_share=0.125),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="zoo:digits")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=4, help="iterations per round and setting")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    denoiser = as_class_denoiser(efface.load(arguments.model))
    rows = {
        name: measure(denoiser, method, arguments.batch_size) for name, method in SETTINGS.items()
    }
    times = rounds(rows, arguments.rounds, arguments.steps)
    report = summarise(rows, times, arguments.batch_size)
    for line in report["rows"]:
        print(
            f"{line['setting']:40} {line['forwards']:6.2f} forwards  "
            f"{line['seconds']:.3f} s  {line['of_published']:.2f} of published  "
            f"loop {line['loop_overhead']:+.1%}"
        )
    if arguments.out is not None:
        write_results(arguments.out, [0], report)


def measure(denoiser: ClassDenoiser, method: SFD, batch_size: int) -> dict[str, Any]:
    """The trainer's step and a bare one that makes the same passes, and how many those are."""
    trainer = make_trainer(denoiser, method, batch_size)
    trainer.step(0)  # optimizer states come into being
    return {
        "forwards": count_forwards(trainer) / batch_size,
        "loop": lambda step: trainer.step(step),
        "bare": bare_step(denoiser, method, batch_size),
    }


def make_trainer(denoiser: ClassDenoiser, method: SFD, batch_size: int) -> Trainer:
    settings = TrainSettings(
        batch_size=batch_size, learning_rate=1e-6, steps=10_000, clip_value=1.0
    )
    source = ConditionSource(
        table=denoiser.encode(range(denoiser.num_classes)),
        retain=list(range(1, denoiser.num_classes)),
        forget=[0],
        replacements=[[1]],
        retain_rows=batch_size,
        forget_rows=round(method.forget_share * batch_size),
        seed=0,
    )
    folder = Path(tempfile.mkdtemp(prefix="step-cost-"))
    return Trainer(method, method.networks(denoiser), source, settings, folder)


def count_forwards(trainer: Trainer) -> float:
    """Rows of one step in forwards' worth: backward is 2 with weights' gradients, 1 without."""
    worth = 0.0
    handles = []
    for denoiser in trainer.networks.values():

        def hook(module: torch.nn.Module, inputs: Any, output: Any) -> None:
            nonlocal worth
            weights = next(module.parameters()).requires_grad
            carries = output[0].requires_grad
            worth += len(output[0]) * (1 + (2 if weights else 1) * carries)

        handles.append(denoiser.network.register_forward_hook(hook))
    trainer.step(1)
    for handle in handles:
        handle.remove()
    return worth


def bare_step(denoiser: ClassDenoiser, method: SFD, batch_size: int) -> Callable[[int], None]:
    """The passes and updates of one iteration on fixed inputs, with nothing around them."""
    nets: dict[str, Any] = {k: d.network for k, d in method.networks(denoiser).items()}
    total = batch_size + round(method.forget_share * batch_size)
    x = torch.randn(total, *denoiser.sample_shape)
    t = torch.full((total,), 300)
    labels = torch.randint(denoiser.num_classes, (total,))
    optimizers = {
        k: torch.optim.AdamW(nets[k].parameters(), lr=1e-6, fused=True)
        for k in ("fake_score", "student")
    }

    def forward(name: str, sample: Tensor) -> Tensor:
        return nets[name](sample, t, class_labels=labels, return_dict=False)[0]

    def step(_: int) -> None:
        shared = method.share_student_pass
        nets["fake_score"].requires_grad_(True)
        optimizers["fake_score"].zero_grad()
        with torch.set_grad_enabled(shared):
            generated = forward("student", x)
        forward("fake_score", generated.detach()).square().sum().backward()
        optimizers["fake_score"].step()
        nets["fake_score"].requires_grad_(False)
        optimizers["student"].zero_grad()
        if not shared:
            generated = forward("student", x)
        difference = forward("teacher", generated) - forward("fake_score", generated)
        (difference * generated).sum().backward()
        optimizers["student"].step()

    return step


def rounds(rows: dict[str, Any], count: int, steps: int) -> dict[str, dict[str, list[float]]]:
    """Seconds per iteration, in turns: every setting, loop and bare, in every round."""
    times: dict[str, dict[str, list[float]]] = {n: {"loop": [], "bare": []} for n in rows}
    for turn in range(count + 1):
        for name, row in rows.items():
            for kind in ("loop", "bare") if turn % 2 else ("bare", "loop"):
                began = time.perf_counter()
                for i in range(steps):
                    row[kind](2 + turn * steps + i)
                synchronise()
                if turn:  # the first round warms up
                    times[name][kind].append((time.perf_counter() - began) / steps)
    return times


def summarise(rows: dict[str, Any], times: Any, batch_size: int) -> dict[str, Any]:
    published = times["published"]["loop"]
    lines = []
    for name, row in rows.items():
        loop, bare = times[name]["loop"], times[name]["bare"]
        lines.append(
            {
                "setting": name,
                "forwards": row["forwards"],
                "seconds": statistics.median(loop),
                "bare_seconds": statistics.median(bare),
                "of_published": ratio(loop, published),
                "loop_overhead": ratio(loop, bare) - 1,
            }
        )
    return {"batch_size": batch_size, "rounds": len(published), "rows": lines}


def ratio(own: list[float], other: list[float]) -> float:
    """Median of the ratios of neighbouring measurements."""
    return statistics.median(a / b for a, b in zip(own, other, strict=True))


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
