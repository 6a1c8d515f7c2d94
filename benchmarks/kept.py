"""What runs on zoo:digits kept, seen by an independent eye beside their verdicts.

    python benchmarks/kept.py recipes/digits-sfd.toml runs/benchmark/digits-sfd-recipe-*-seed* \
        --out benchmarks/results/digits-sfd-eye.json

For every finished run, 225 images of each label are sampled from it and from the original model at
its best guidance, from the same noise, which is another for every training seed, and
`independent_eye.py`, which knows nothing of efface, compares both. Figures are means over the seeds
of a pair with a 95 % t interval, compared with `[expected.kept]` of the recipe. A verdict agrees
with the eye if that does not say the opposite; where it leaves a question open, nothing can.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import independent_eye
from results_file import write_results
from scipy.stats import t as student_t

import efface
from efface.records import read_evaluation, read_record
from efface.reporting import judge_run

COUNT = 225  # images of each label
FIRST_SEED = 20_000_000  # away from those of evaluation
KEPT = ("distance_pixels", "distance_components", "distance_classifier")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    expected = tomllib.loads(given.recipe.read_text())["expected"]["kept"]
    with tempfile.TemporaryDirectory() as folder:
        runs = [look_at(run, Path(folder)) for run in sorted(given.runs)]
    pairs = sorted({run["pair"] for run in runs})
    summary = [summarise([r for r in runs if r["pair"] == pair], expected) for pair in pairs]
    for row in summary:
        print(row)
    agree = sum(run["agrees"] for run in runs)
    print(f"the verdict of {agree} of {len(runs)} runs agrees with the eye")
    content = {"expected": expected, "summary": summary, "runs": runs}
    write_results(given.out, sorted({run["seed"] for run in runs}), content)


def look_at(run: Path, folder: Path) -> dict[str, Any]:
    record, evaluation = read_record(run), read_evaluation(run)
    labels = record.request["labels"], record.request["replacement"]
    (forgotten,), (replacement,) = labels
    guidance, train_seed = evaluation.guidance, record.settings["train"]["seed"]
    seed = FIRST_SEED + 10_000 * train_seed
    original, result = folder / f"original-{guidance}-{train_seed}", folder / run.name
    if not original.exists():
        steps = record.settings["evaluate"]["baseline_steps"]
        efface.sample(
            "zoo:digits", original, count=COUNT, seed=seed, steps=steps, guidance=guidance
        )
    efface.sample(run, result, count=COUNT, seed=seed)
    images = [independent_eye.read_folder(path) for path in (original, result)]
    figures = independent_eye.look(images[0], images[1], forgotten, replacement)
    worse = independent_eye.worse(figures)
    answers = judge_run(record, evaluation).answers
    print(run.name, answers, "the eye: worse in", worse or "nothing", flush=True)
    return {
        "run": run.name,
        "pair": f"{forgotten}:{replacement}",
        "seed": train_seed,
        "status": record.status,
        "seconds": record.seconds,
        "forwards": record.forwards,
        "guidance_of_the_original": guidance,
        "verdict": answers,
        "eye": figures,
        "worse_by_the_eye": worse,
        "agrees": agrees(answers, figures, worse),
    }


def agrees(answers: Mapping[str, str], figures: dict[str, Any], worse: Sequence[str]) -> bool:
    """Whether neither answer is contradicted: gone or not, damaged or not."""
    accuracy = figures["unlearning_accuracy"]
    gone, same = accuracy["low"] > 0.5, accuracy["high"] < 0.05
    contradicted = [
        answers["forget"] == "yes" and not gone,
        answers["forget"] == "no" and not same and accuracy["result"] > 0.95,
        answers["retain"] == "yes" and bool(worse),
        answers["retain"] == "no" and not worse,
    ]
    return not any(contradicted)


def summarise(runs: list[dict[str, Any]], expected: dict[str, float]) -> dict[str, Any]:
    """Means over seeds, and whether they meet what the recipe promises."""
    eyes = [run["eye"] for run in runs]
    row: dict[str, Any] = {"pair": runs[0]["pair"], "seeds": [run["seed"] for run in runs]}
    for name in KEPT:
        row[name] = mean([eye[name]["ratio"] for eye in eyes])
        row[name]["met"] = row[name]["mean"] <= expected[name]
    for name, key in (("recall", "difference"), ("unlearning_accuracy", "result")):
        row[name] = mean([eye[name][key] for eye in eyes])
        row[name]["met"] = row[name]["mean"] >= expected[name]
    worst = [eye["worst_class"]["result"] - eye["worst_class"]["original"] for eye in eyes]
    row["worst_class"] = mean(worst)
    row["worst_class"]["met"] = row["worst_class"]["mean"] >= expected["worst_class"]
    row["forwards"] = statistics.fmean(run["forwards"] for run in runs)
    row["seconds"] = statistics.fmean(run["seconds"] for run in runs)
    return row


def mean(values: list[float]) -> dict[str, Any]:
    """With a 95 % t interval over seeds, where there are several."""
    found: dict[str, Any] = {"mean": statistics.fmean(values)}
    if len(values) > 1:
        half = student_t.ppf(0.975, len(values) - 1) * statistics.stdev(values)
        half /= len(values) ** 0.5
        found |= {"low": found["mean"] - half, "high": found["mean"] + half}
    return found


if __name__ == "__main__":
    main()
