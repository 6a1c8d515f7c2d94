"""Forgets concepts of the small text-to-image model and compares the results with a recipe's bars.

    python benchmarks/forget_concept.py runs/scenes recipes/scenes-teacher.toml \
        recipes/scenes-sfd.toml --detector runs/scenes-detector --pair bag:coat \
        --seed 0 --seed 1 --out benchmarks/results/scenes-sfd.json

With a recipe that has a section [distil], a one-step generator that forgets nothing is distilled
first, into --distilled, and every run starts from it; with any other, from the model. All runs are
evaluated on the same seeds. Runs are kept in --runs and resumed.
"""

from __future__ import annotations

import argparse
import statistics
import tomllib
from pathlib import Path
from typing import Any

from recipe_settings import request_settings
from results_file import write_results
from scene_prompts import Request, add_scene_options, fresh_scenes, write_captions, write_request
from variants import MODELS, figures, outcome, parse_variants

import efface
from efface.records import read_evaluation, read_record
from efface.zoo.build.settings import read_build_settings

DISTIL = (
    "train.steps=500",
    "train.learning_rate=5e-4",
    "train.checkpoint_every=90",
    "train.guard_every=90",
)
GONE = ("own", "paraphrase", "composition")  # groups of prompts that must not show the concept
BARS = {*GONE, "neighbour_below", "fd_over_baseline", "recall_below_baseline"}


def main() -> None:
    arguments = parse()
    recipe = tomllib.loads(arguments.recipe.read_text())
    expected = recipe["expected"]
    settings = read_build_settings(arguments.teacher_recipe, arguments.scenes)
    scenes = fresh_scenes(settings)
    captions = write_captions(scenes, arguments.runs / "captions.txt")
    start = distil(arguments, captions) if "distil" in recipe else None
    unknown = set(expected) - BARS
    if unknown:
        raise SystemExit(f"{arguments.recipe} expects {unknown}, which nothing here measures.")
    runs: list[dict[str, Any]] = []
    for variant, changes in parse_variants(arguments.variant).items():
        for pair in arguments.pair:
            concept, _, replacement = pair.partition(":")
            folder = arguments.runs / concept
            files = write_request(scenes, settings, concept, replacement, folder)
            for seed in arguments.seed:
                own = [*changes, f"train.seed={seed}"]
                run = one_run(arguments, variant, own, pair, files, start)
                runs.append(run | {"bars": check(run, expected)})
                print(describe(runs[-1]), flush=True)
                content = {"expected": expected, "summary": summarise(runs), "runs": runs}
                write_results(arguments.out, arguments.seed, content)
    print(outcome(runs, arguments.out))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_scene_options(parser)
    parser.add_argument("--distilled", type=Path, default=Path("runs/scenes-distilled"))
    parser.add_argument(
        "--distil", action="append", default=[], help=f"a change to the recipe, after {DISTIL}"
    )
    parser.add_argument("--pair", action="append", required=True, help="CONCEPT:REPLACEMENT")
    parser.add_argument(
        "--also",
        action="append",
        default=[],
        help="CONCEPT:NAME, another name that the request gives; not one that is measured.",
    )
    return parser.parse_args()


def distil(arguments: argparse.Namespace, captions: Path) -> Path:
    """The generator, made unless it is there: the same serves variants of the requests."""
    out = arguments.distilled
    changes = [*DISTIL, *arguments.distil]
    if out.exists() and read_record(out).status == "finished":
        wanted = request_settings(efface.Distil, arguments.recipe, changes).to_json()
        made = read_record(out).settings
        other = [name for name in ("method", "train") if made[name] != wanted[name]]
        if other:
            raise SystemExit(f"{out} was distilled with other settings of {other}: move it away.")
        return out
    efface.forget(
        arguments.model,
        efface.Distil(retain_prompts=str(captions)),
        out,
        recipe=arguments.recipe,
        changes=changes,
        resume=out.exists(),
        measure=False,
    )
    return out


def one_run(
    arguments: argparse.Namespace,
    variant: str,
    changes: list[str],
    pair: str,
    files: Request,
    start: Path | None,
) -> dict[str, Any]:
    concept, _, replacement = pair.partition(":")
    also = tuple(
        other.partition(":")[2] for other in arguments.also if other.startswith(f"{concept}:")
    )
    name = f"{arguments.recipe.stem}-{variant}-{concept}-{changes[-1].partition('=')[2]}"
    out = arguments.runs / name.replace(" ", "-")
    settings = {
        "evaluate.detector": arguments.detector,
        "evaluate.detector_labels": [concept],
        "evaluate.extractor": arguments.detector,
        "evaluate.reference": str(files.reference),
        "concept.prompt_groups": str(files.groups),
    }
    efface.forget(
        arguments.model,
        efface.ForgetConcept(
            concept=concept,
            also=also,
            replacement=replacement,
            forget_prompts=str(files.forget),
            retain_prompts=str(files.retain),
        ),
        out,
        recipe=arguments.recipe,
        changes=[*changes, *(f"{key}={value!r}" for key, value in settings.items())],
        start=start,
        resume=out.exists(),
    )
    evaluation, record = read_evaluation(out), read_record(out)
    return {
        "variant": variant,
        "pair": pair,
        "also": also,
        "seed": record.settings["train"]["seed"],
        "status": record.status,
        "seconds": record.seconds,
        "forwards": record.forwards,
        "steps": record.steps,
        "passes_per_image": record.sampler["passes"],
        "results": {r.metric: figures(r) for r in evaluation.results},
    }


def check(run: dict[str, Any], expected: dict[str, float]) -> dict[str, bool]:
    """Every bar by name, whether it holds; ValueError where a bar's figure was not measured."""
    distilled = any("distilled" in found for found in run["results"].values())
    bars = {"finished": run["status"] == "finished"}
    if distilled:
        bars["one step"] = run["passes_per_image"] == 1
    met = set()
    for metric, found in run["results"].items():
        rate, _, rest = metric.partition("/")
        kind, value = rest.partition("/")[0], found["value"]["value"]
        if rate == "concept_rate" and kind in GONE:
            bars[metric] = value <= expected[kind]
            met.add(kind)
        elif kind == "neighbour":
            before = found["distilled" if distilled else "baseline"]["value"]
            bars[metric] = value >= before - expected["neighbour_below"]
            met.add("neighbour_below")
        elif metric == "fd":
            bars[metric] = value <= expected["fd_over_baseline"] * found["baseline"]["value"]
            met.add("fd_over_baseline")
        elif metric == "recall" and "recall_below_baseline" in expected:
            bars[metric] = value >= found["baseline"]["value"] - expected["recall_below_baseline"]
            met.add("recall_below_baseline")
    if met != set(expected):
        raise ValueError(f"nothing was measured about {sorted(set(expected) - met)}")
    return bars


def summarise(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over the seeds, by pair and metric."""
    summary: dict[str, Any] = {}
    for key in dict.fromkeys((run["variant"], run["pair"]) for run in runs):
        same = [run["results"] for run in runs if (run["variant"], run["pair"]) == key]
        for metric in same[0]:
            values = [results[metric]["value"]["value"] for results in same]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            summary.setdefault(" ".join(key), {})[metric] = {
                "mean": statistics.mean(values),
                "standard_deviation": spread,
                "seeds": len(values),
            }
    return summary


def describe(run: dict[str, Any]) -> str:
    parts = [f"{run['pair']} seed {run['seed']}: {run['steps']} steps in {run['seconds']:.0f} s"]
    for metric, found in run["results"].items():
        values = [f"{found[name]['value']:.3g}" for name in MODELS if name in found]
        parts.append(f"{metric} {values[0]} ({', '.join(values[1:])})")
    missed = [name for name, holds in run["bars"].items() if not holds]
    return "  ".join(parts) + (f"  MISSED {missed}" if missed else "  all bars met")


if __name__ == "__main__":
    main()
