"""Forgets classes one after the other, each run on the result of the last, and all in one request.

    python benchmarks/sequence.py zoo:digits recipes/digits-sfd.toml --pair 0:1 --pair 2:7 \
        --pair 4:9 --pair 6:5 --pair 8:3 --seed 0 --seed 1 --seed 2 \
        --out benchmarks/results/digits-sequence.json

Every class must stay forgotten after every later request, and the sequence must retain the others
as well as the single request for all does. About 15 minutes a seed with one thread.
Runs are kept in --runs and resumed; finished ones are not done again.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from results_file import write_results
from variants import outcome, parse_pairs, parse_variants, seed_changes

import efface
from efface.records import read_evaluation, read_record
from efface.reporting import judge_run

LEAST_ACCURACY = 0.99  # unlearning accuracy of every class after every request
MOST_LOST = 0.01  # retained accuracy that the sequence may lose against the single request


def main() -> None:
    arguments = parse_pairs(__doc__)
    runs = []
    for variant, changes in parse_variants(arguments.variant).items():
        for seed in arguments.seed:
            found = one_seed(arguments, f"{variant}-seed{seed}", [*changes, *seed_changes(seed)])
            runs.append({"variant": variant, "seed": seed} | found)
    write_results(arguments.out, arguments.seed, {"pairs": arguments.pair, "runs": runs})
    print(outcome(runs, arguments.out))


def one_seed(arguments: argparse.Namespace, name: str, changes: list[str]) -> dict[str, Any]:
    """All requests in a row, then all at once, and whether the bars are met."""
    requests = [request_of(pair) for pair in arguments.pair]

    def forget(model: str | Path, request: efface.ForgetClass, what: str) -> Path:
        out = arguments.runs / f"sequence-{name}-{what}"
        resume = out.exists()
        efface.forget(model, request, out, recipe=arguments.recipe, changes=changes, resume=resume)
        return out

    model, after = arguments.model, []
    for number, request in enumerate(requests, start=1):
        model = forget(model, request, str(number))
        after.append(figures(model))
        print(describe(f"{name} request {number}", after[-1]), flush=True)
    *earlier, last = requests
    together = last.model_copy(update={"earlier": tuple(earlier)})
    single = figures(forget(arguments.model, together, "single"))
    print(describe(f"{name} single", single), flush=True)
    lost = single["retained_accuracy"]["value"] - after[-1]["retained_accuracy"]["value"]
    bars = {
        f"request {number}, every class at least {LEAST_ACCURACY}": min(found["classes"].values())
        >= LEAST_ACCURACY
        for number, found in enumerate(after, start=1)
    }
    bars[f"retained accuracy within {MOST_LOST} of the single request"] = lost <= MOST_LOST
    return {"after": after, "single": single, "bars": bars}


def request_of(pair: str) -> efface.ForgetClass:
    label, replacement = map(int, pair.split(":"))
    return efface.ForgetClass(labels=(label,), replacement=(replacement,))


def figures(run: Path) -> dict[str, Any]:
    """Unlearning accuracy of every class that was forgotten so far, and what was retained."""
    evaluation, record = read_evaluation(run), read_record(run)
    found = {result.metric: result for result in evaluation.results}
    labels = [label for one in requested(record.request) for label in one["labels"]]
    alone = len(labels) == 1
    retained = found["retained_accuracy"]
    return {
        "seconds": record.seconds,
        "steps": record.steps,
        "classes": {
            str(label): found["unlearning_accuracy" + ("" if alone else f"/{label}")].value
            for label in labels
        },
        "retained_accuracy": retained.model_dump(include={"value", "low", "high", "baseline"}),
        "headline": judge_run(record, evaluation).headline,
    }


def requested(request: dict[str, Any]) -> list[dict[str, Any]]:
    return [*request.get("earlier", []), request]


def describe(what: str, found: dict[str, Any]) -> str:
    classes = "  ".join(f"{label}: {value:.4f}" for label, value in found["classes"].items())
    retained = found["retained_accuracy"]["value"]
    return f"{what}: UA {classes}  retained {retained:.4f}  {found['seconds']:.0f} s"


if __name__ == "__main__":
    main()
