"""Forgets several classes with several seeds and compares the results with the recipe's bars.

    python benchmarks/forget_class.py zoo:digits recipes/digits-sfd.toml --pair 0:1 --pair 4:9 \
        --seed 0 --seed 1 --out benchmarks/results/digits-sfd.json

With --variant NAME:k=v,k=v (repeatable) every variant is run on every pair and seed.
Runs are kept in --runs and resumed; finished ones are not done again.
"""

from __future__ import annotations

import argparse
import statistics
import tomllib
from typing import Any

from results_file import write_results
from variants import outcome, parse_pairs, parse_variants, seed_changes

import efface
from efface.records import Evaluation, Result, read_evaluation, read_record
from efface.reporting import judge_run


def main() -> None:
    arguments = parse_pairs(__doc__)
    expected = tomllib.loads(arguments.recipe.read_text())["expected"]
    variants = parse_variants(arguments.variant)
    runs = []
    for variant, changes in variants.items():
        for pair in arguments.pair:
            for seed in arguments.seed:
                run = one_run(arguments, variant, changes, pair, seed)
                runs.append(run | {"bars": check(run, expected)})
                print(describe(runs[-1]), flush=True)
    content = {
        "expected": expected,
        "summary": [summarise(runs, v) for v in variants],
        "runs": runs,
    }
    write_results(arguments.out, arguments.seed, content)
    print(outcome(runs, arguments.out))


def one_run(
    arguments: argparse.Namespace, variant: str, changes: list[str], pair: str, seed: int
) -> dict[str, Any]:
    label, replacement = map(int, pair.split(":"))
    out = arguments.runs / f"{arguments.recipe.stem}-{variant}-{label}-{replacement}-seed{seed}"
    efface.forget(
        arguments.model,
        efface.ForgetClass(labels=(label,), replacement=(replacement,)),
        out,
        recipe=arguments.recipe,
        changes=[*changes, *seed_changes(seed)],
        resume=out.exists(),
    )
    evaluation, record = read_evaluation(out), read_record(out)
    return {
        "variant": variant,
        "pair": pair,
        "seed": seed,
        "status": record.status,
        "seconds": record.seconds,
        "steps": record.steps,
        "images_per_second": record.images_per_second,
        "passes_per_image": record.sampler["passes"],
        "verdict": judge_run(record, evaluation).summary,
        "results": by_name(evaluation),
        "judge": evaluation.judge,
        "protocol": protocol(evaluation),
    }


def by_name(evaluation: Evaluation) -> dict[str, dict[str, Any]]:
    """Figures by metric, the classifier's first; those of another network carry its name."""
    found: dict[str, dict[str, Any]] = {}
    for result in evaluation.results:
        network = (result.extractor or {}).get("name")
        name = f"{result.metric} ({network})" if result.metric in found else result.metric
        found[name] = figures(result)
    return found


def figures(result: Result) -> dict[str, Any]:
    keep = {
        *("value", "low", "high", "samples", "seeds"),
        *("baseline", "baseline_one_step", "difference"),
    }
    return {key: value for key, value in result.model_dump().items() if key in keep}


def protocol(evaluation: Evaluation) -> str:
    fd = evaluation.get("fd")
    return fd.protocol if fd else ""


def check(run: dict[str, Any], expected: dict[str, dict[str, Any]]) -> dict[str, bool]:
    """Whether each bar is met: a number or "baseline", which `times` and `minus` can shift."""
    bars = {}
    for metric, bar in expected.items():
        if metric == "kept":  # for kept.py
            continue
        result = run["results"][metric]
        times, minus = bar.get("times"), bar.get("minus")
        for kind in ("at_least", "at_most"):
            if kind not in bar:
                continue
            limit, value = bar[kind], result["value"]
            number = result["baseline"]["value"] if limit == "baseline" else limit
            number = number * (1 if times is None else times) - (minus or 0)
            name = f"{metric} {kind} {limit}"
            name += "" if times is None else f" times {times}"
            name += "" if minus is None else f" minus {minus}"
            bars[name] = value >= number if kind == "at_least" else value <= number
    return bars


def summarise(runs: list[dict[str, Any]], variant: str) -> dict[str, Any]:
    """Mean, spread and worst over the runs of a variant."""
    own = [run for run in runs if run["variant"] == variant]
    summary: dict[str, Any] = {"variant": variant, "runs": len(own)}
    summary["seconds_median"] = statistics.median(run["seconds"] for run in own)
    for metric in own[0]["results"]:
        values = [run["results"][metric]["value"] for run in own]
        baselines = [run["results"][metric]["baseline"]["value"] for run in own]
        summary[metric] = {
            "mean": statistics.fmean(values),
            "standard_deviation": statistics.stdev(values) if len(values) > 1 else None,
            "lowest": min(values),
            "highest": max(values),
            "baseline_mean": statistics.fmean(baselines),
        }
    return summary


def describe(run: dict[str, Any]) -> str:
    results = run["results"]
    numbers = "  ".join(
        f"{name} {results[name]['value']:.4g} ({results[name]['baseline']['value']:.4g})"
        for name in ("unlearning_accuracy", "retained_accuracy", "fd", "recall")
    )
    missed = [bar for bar, met in run["bars"].items() if not met]
    return (
        f"{run['variant']} {run['pair']} seed {run['seed']}: {numbers}  {run['seconds']:.0f} s"
        + (f"  MISSED {missed}" if missed else "")
    )


if __name__ == "__main__":
    main()
