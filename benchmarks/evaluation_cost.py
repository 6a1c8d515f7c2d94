"""What evaluating costs beside its network passes: one process, turn by turn, in CPU seconds.

    python benchmarks/evaluation_cost.py zoo:digits --samples 10000 \
        --out benchmarks/results/evaluation-cost.json

Bare: noise from seeds, the samplers' network calls, the classifier's passes, nothing else, for all
models that a run of SFD is evaluated with: the result in one step, the original model in many and
in one. Whole: `efface.evaluate` of that run, from reading it to its report, with nothing measured
before and a store to write to. Its metrics are timed apart as well.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from results_file import write_results

import efface
from efface.diffusion.denoiser import as_class_denoiser
from efface.diffusion.model_folder import inspect_model
from efface.diffusion.one_step import default_sampler
from efface.diffusion.sampling import MultiStep, Sampler
from efface.evaluation.protocol import observe_model
from efface.evaluation.sample_sets import Subject
from efface.evaluation.store import Store
from efface.evaluation.views import CLASS_METRICS, JudgeView
from efface.metrics.judge import Judge, load_judge
from efface.requests.classes.protocol import ClassProtocol
from efface.settings.evaluate import EvaluateSettings

TRAINING = (
    "train.steps=1",
    "train.batch_size=8",
    "train.guard_every=0",
)  # what it learns does not matter here


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=50, help="DDIM steps of the original model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(arguments, Path(folder))


def measure(arguments: argparse.Namespace, folder: Path) -> None:
    request = efface.ForgetClass(labels=(0,))
    run = efface.forget(arguments.model, request, folder / "run", changes=TRAINING, measure=False)
    shares = {"forget": arguments.samples // 10, "retain": arguments.samples * 9 // 10}
    settings = EvaluateSettings(
        forget_samples=shares["forget"],
        retain_samples=shares["retain"],
        baseline_steps=arguments.steps,
    )
    judge = load_judge(inspect_model(arguments.model).folder / "judge")
    protocol = ClassProtocol(
        views={"judge": JudgeView(judge=judge)},
        config=settings,
        forget=[0],
        retain=list(range(1, 10)),
    )
    original = as_class_denoiser(efface.load(arguments.model))
    result = as_class_denoiser(efface.load(run))
    one_step = default_sampler(inspect_model(run / "pipeline"), result)
    models: list[tuple[object, Sampler]] = [
        (result, one_step), (original, MultiStep(arguments.steps)), (original, one_step),
    ]  # fmt: skip

    def bare() -> object:
        return [
            sample(denoiser, sampler, judge, protocol, side)
            for denoiser, sampler in models
            for side in shares
        ]

    changes = [f"evaluate.{side}_samples={count}" for side, count in shares.items()]
    changes.append(f"evaluate.baseline_steps={arguments.steps}")

    def whole() -> object:
        shutil.rmtree(folder / "store", ignore_errors=True)
        (run / "evaluation.json").unlink(missing_ok=True)
        return efface.evaluate(run, changes=changes)

    os.environ["EFFACE_CACHE"] = str(folder / "store")
    seconds: dict[str, list[float]] = {"bare": [], "whole": []}
    turns = [("bare", bare), ("whole", whole)]
    for _ in range(arguments.rounds):
        for name, work in turns:
            seconds[name].append(timed(work))
        turns.reverse()
    ratios = [whole / bare for bare, whole in zip(*seconds.values(), strict=True)]
    content = {
        "samples": arguments.samples,
        "models": [f"{n}: {s.describe()}" for n, (_, s) in zip(NAMES, models, strict=True)],
        "cpu_seconds": seconds,
        "ratios": ratios,
        "whole_over_bare": statistics.median(ratios),
        "metric_seconds_of_one_model": time_metrics(original, one_step, judge, protocol),
    }
    write_results(arguments.out, [settings.seed], content)
    print(f"whole {content['whole_over_bare']:.3f} of bare sampling and feature passes")


NAMES = ("result", "original model", "original model for context")


def time_metrics(
    denoiser, sampler: Sampler, judge: Judge, protocol: ClassProtocol
) -> dict[str, float]:
    subject = Subject(denoiser=denoiser, sampler=sampler)
    seen = protocol.seen_by("judge", {"model": observe_model(subject, protocol, Store(None))})
    reference = judge.reference_without([0])
    return {
        metric.spec.name: timed(
            lambda m=metric: m.compute(
                dataclasses.replace(seen[m.spec.side]["model"], forgotten=[0], real=reference)
            )
        )
        for metric in CLASS_METRICS
    }


@torch.inference_mode()
def sample(denoiser, sampler: Sampler, judge: Judge, protocol: ClassProtocol, side) -> list:
    """The passes themselves: no store, no streaming, nothing gathered."""
    labels, seeds = protocol.labels(side), protocol.seeds(side)
    size, kept = protocol.config.batch_size, []
    for start in range(0, len(labels), size):
        generators = [torch.Generator().manual_seed(s) for s in seeds[start : start + size]]
        noise = torch.stack([torch.randn(denoiser.sample_shape, generator=g) for g in generators])
        condition = denoiser.encode(labels[start : start + size])
        images = sampler.draw(denoiser, noise, condition).clamp(-1, 1).add(1).div(2)
        kept.append(judge.observe(images, np.zeros(len(images), dtype=np.int64)))
    return kept


def timed(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    main()
