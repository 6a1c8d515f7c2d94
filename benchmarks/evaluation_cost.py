"""What evaluating costs beside its network passes: one process, medians, turn by turn.

    python benchmarks/evaluation_cost.py zoo:digits --samples 10000 \
        --out benchmarks/results/evaluation-cost.json

Bare: noise from seeds, the sampler's network calls, the judge's passes, nothing else. Engine: the
same samples through `observe`, with a store to write to. Metrics: all figures from what was seen.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from results_file import write_results

import efface
from efface.config import EvaluateConfig
from efface.diffusion.denoiser import as_class_denoiser
from efface.diffusion.model_folder import inspect_model
from efface.diffusion.sampling import MultiStep
from efface.evaluation.classes import ClassProtocol, observe_labels
from efface.evaluation.sample_sets import Subject
from efface.evaluation.store import Store
from efface.evaluation.views import CLASS_METRICS, JudgeView
from efface.metrics.judge import Judge, load_judge


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=10, help="DDIM steps")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    denoiser = as_class_denoiser(efface.load(arguments.model))
    judge = load_judge(inspect_model(arguments.model).folder / "judge")
    sampler, views = MultiStep(arguments.steps), {"judge": JudgeView(judge=judge)}
    config = EvaluateConfig(
        forget_samples=arguments.samples // 10, retain_samples=arguments.samples * 9 // 10
    )
    protocol = ClassProtocol(forgotten=[0], retained=list(range(1, 10)), config=config)

    def engine() -> object:
        with tempfile.TemporaryDirectory() as folder:
            subject = Subject(denoiser=denoiser, sampler=sampler, digest="benchmark")
            return observe_labels(subject, protocol, views, Store(Path(folder)))

    def bare() -> object:
        return [sample(denoiser, sampler, judge, protocol, side) for side in ("forget", "retain")]

    seconds: dict[str, list[float]] = {"bare": [], "engine": []}
    for _ in range(arguments.rounds):
        for name, work in (("bare", bare), ("engine", engine)):
            seconds[name].append(timed(work))
    seen = observe_labels(
        Subject(denoiser=denoiser, sampler=sampler), protocol, views, Store(None)
    )["judge"]
    reference = judge.reference_without([0])
    metrics = {
        metric.name: timed(lambda m=metric: m.compute(seen[m.side], [0], reference))
        for metric in CLASS_METRICS
    }
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    content = {
        "samples": arguments.samples,
        "sampler": sampler.describe(),
        "seconds": seconds,
        "engine_over_bare": medians["engine"] / medians["bare"],
        "metric_seconds": metrics,
        "with_metrics_over_bare": (medians["engine"] + sum(metrics.values())) / medians["bare"],
    }
    write_results(arguments.out, [config.seed], content)
    print(f"engine {content['engine_over_bare']:.3f} of bare sampling and feature passes")
    print(f"with all metrics {content['with_metrics_over_bare']:.3f}")


@torch.inference_mode()
def sample(denoiser, sampler: MultiStep, judge: Judge, protocol: ClassProtocol, side) -> list:
    """The passes themselves: no store, no streaming, nothing gathered."""
    asked, seeds = protocol.asked(side), protocol.seeds(side)
    size, kept = protocol.config.batch_size, []
    for start in range(0, len(asked), size):
        generators = [torch.Generator().manual_seed(s) for s in seeds[start : start + size]]
        noise = torch.stack([torch.randn(denoiser.sample_shape, generator=g) for g in generators])
        condition = denoiser.encode(asked[start : start + size].tolist())
        images = sampler.draw(denoiser, noise, condition, generators).clamp(-1, 1).add(1).div(2)
        kept.append(judge.observe(images, np.zeros(len(images), dtype=np.int64)))
    return kept


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
