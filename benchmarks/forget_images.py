"""Forgets an image with several methods and seeds, and compares the results with a recipe's bars.

    python benchmarks/forget_images.py zoo:digits-symbol recipes/digits-siss.toml \
        --images zoo:symbol --retain digits --unseen digits \
        --retrained zoo:digits-retrained --seed 0 --seed 1 --seed 2 --out benchmarks/results/x.json

With --variant NAME:k=v,k=v (repeatable) every variant is run with every seed; "retain=generate",
"prior=SHARE" and "method=NAME" among its changes replace the options of that name, and a variant
with another method starts from that method's defaults and the recipe's [train]. Runs are kept in
--runs.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from results_file import write_results
from variants import add_options, outcome, parse_variants, seed_changes

import efface
from efface.records import Result, read_evaluation, read_record


def main() -> None:
    arguments = parse()
    expected = tomllib.loads(arguments.recipe.read_text()).get("expected", {})
    variants = parse_variants(arguments.variant)
    runs = []
    for variant, changes in variants.items():
        for seed in arguments.seed:
            run = one_run(arguments, variant, changes, seed)
            runs.append(run | {"bars": check(run, expected)})
            print(describe(runs[-1]), flush=True)
            write(arguments, expected, variants, runs)
    print(outcome(runs, arguments.out))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--images", required=True)
    parser.add_argument("--retain", default="generate")
    parser.add_argument("--unseen", required=True)
    parser.add_argument("--retrained")
    parser.add_argument("--judge", type=Path)
    parser.add_argument("--set", dest="changes", action="append", default=[])
    add_options(parser)
    return parser.parse_args()


def one_run(
    arguments: argparse.Namespace, variant: str, changes: list[str], seed: int
) -> dict[str, Any]:
    plain = [change for change in changes if "." not in change.split("=")[0]]
    options: dict[str, str] = dict(change.split("=", 1) for change in plain)  # pyright: ignore
    changes = [change for change in changes if "." in change.split("=")[0]]
    slug = "".join(c if c.isalnum() else "-" for c in variant)
    out = arguments.runs / f"{arguments.recipe.stem}-{slug}-seed{seed}"
    with tempfile.TemporaryDirectory() as folder:
        recipe = arguments.recipe
        if "method" in options:
            recipe = without_method(recipe, Path(folder))
        efface.forget(
            arguments.model,
            efface.ForgetImages(
                images=arguments.images,
                retain=options.get("retain") or str(arguments.retain),
                unseen=arguments.unseen,
                prior=float(options["prior"]) if "prior" in options else None,
            ),
            out,
            method=options.get("method"),
            recipe=recipe,
            changes=[*arguments.changes, *changes, *seed_changes(seed)],
            judge=arguments.judge,
            retrained=arguments.retrained,
            resume=out.exists(),
        )
    evaluation, record = read_evaluation(out), read_record(out)
    return {
        "variant": variant,
        "method": record.settings["method"],
        "retain": record.request["retain"],
        "seed": seed,
        "status": record.status,
        "note": record.note,
        "seconds": record.seconds,
        "steps": record.steps,
        "images_per_second": record.images_per_second,
        "notes": record.notes,
        "results": {r.metric: figures(r) for r in evaluation.results},
        "judge": evaluation.judge,
    }


def without_method(recipe: Path, folder: Path) -> Path:
    """The recipe's other sections, so that another method begins from its own defaults."""
    kept, inside = [], False
    for line in recipe.read_text().splitlines():
        if line.startswith("["):
            inside = line.strip() == "[method]"
        if not inside:
            kept.append(line)
    copy = folder / recipe.name
    copy.write_text("\n".join(kept) + "\n")
    return copy


def figures(result: Result) -> dict[str, Any]:
    keep = ("value", "low", "high", "samples", "seeds", "baseline", "retrained", "unseen")
    content = {key: value for key, value in result.model_dump().items() if key in keep}
    return content | {"protocol": result.protocol}


def numbers(run: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """Name -> (own figure, the original model's)."""
    found = {name: (r["value"], r["baseline"]["value"]) for name, r in run["results"].items()}
    rate, loss = run["results"]["copy_rate"], run["results"]["forgotten_loss"]
    found["copies"] = (
        round(rate["value"] * rate["samples"]),
        round(rate["baseline"]["value"] * rate["samples"]),
    )
    unseen = loss["unseen"]["value"]
    found["loss_over_unseen"] = (loss["value"] / unseen, loss["baseline"]["value"] / unseen)
    return found


def check(run: dict[str, Any], expected: dict[str, dict[str, Any]]) -> dict[str, bool]:
    """Whether each bar is met: a number or "baseline", which `times` can shift."""
    bars = {}
    for name, bar in expected.items():
        own, baseline = numbers(run)[name]
        for kind in ("at_least", "at_most"):
            if kind not in bar:
                continue
            limit = baseline * bar.get("times", 1) if bar[kind] == "baseline" else bar[kind]
            bars[f"{name} {kind} {limit:.4g}"] = (
                own >= limit if kind == "at_least" else own <= limit
            )
    return bars


def describe(run: dict[str, Any]) -> str:
    shown = numbers(run)
    names = ("copies", "loss_over_unseen", "membership_auc", "fd", "inception_score", "nll")
    parts = [f"{n} {shown[n][0]:.4g} ({shown[n][1]:.4g})" for n in names if n in shown]
    missed = [bar for bar, met in run["bars"].items() if not met]
    text = f"{run['variant']} seed {run['seed']}: {'  '.join(parts)}  {run['steps']} steps  "
    return text + f"{run['seconds']:.0f} s" + (f"  MISSED {missed}" if missed else "")


def summarise(runs: list[dict[str, Any]], variant: str) -> dict[str, Any]:
    """Mean, least and greatest over seeds of every figure, and the original model's mean."""
    own = [numbers(run) for run in runs if run["variant"] == variant]
    return {
        "variant": variant,
        "seeds": len(own),
        **{
            name: {
                "mean": statistics.mean(n[name][0] for n in own),
                "min": min(n[name][0] for n in own),
                "max": max(n[name][0] for n in own),
                "baseline_mean": statistics.mean(n[name][1] for n in own),
            }
            for name in own[0]
        },
    }


def write(
    arguments: argparse.Namespace,
    expected: dict[str, Any],
    variants: dict[str, list[str]],
    runs: list[dict[str, Any]],
) -> None:
    done = {run["variant"] for run in runs}
    content = {
        "expected": expected,
        "summary": [summarise(runs, v) for v in variants if v in done],
        "runs": runs,
    }
    write_results(arguments.out, arguments.seed, content)


if __name__ == "__main__":
    main()
