"""Attacks erasures of the digits models that ship, and prints what it took to undo each.

    python benchmarks/attack_table.py --seed 0 --out benchmarks/results/attacks-digits.json

Digit 0 is forgotten with SFD, the heart with NegGrad at one step and with SISS. Beside each stand
the original model, a knowingly weak erasure and a model retrained without it, as lines of the same
curves; for the digit the last is trained on the other nine first, unless --retrained names one.
Runs are kept in --runs and resumed.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results_file import write_results
from variants import seed_changes

import efface
from efface.attacks.base import Attack
from efface.attacks.costs import described
from efface.diffusion.model_folder import inspect_model
from efface.metrics.intervals import Estimate
from efface.records import AttackResult, Attacks
from efface.runs.attack import attack, choose, fitting
from efface.runs.plan import choose_settings
from efface.zoo.build.train import train

RECIPES = Path("recipes")
HEART = efface.ForgetImages(images="zoo:symbol", retain="digits", unseen="digits")


@dataclass(frozen=True, kw_only=True)
class Erasure:
    """One row group of the table."""

    name: str
    model: str
    request: efface.ForgetClass | efface.ForgetImages
    retrained: str
    method: str | None = None
    recipe: Path | None = None
    changes: tuple[str, ...] = ()


def main() -> None:
    arguments = parse()
    erasures = list_erasures(arguments)
    rows: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for seed in arguments.seed:
        for erasure in erasures:
            if not choose_fitting(arguments, erasure):
                continue
            run = make_run(arguments, erasure, seed)
            found = attack_run(arguments, erasure, run, seed)
            rows += rows_of(erasure.name, seed, found)
            results.append({"erasure": erasure.name, "seed": seed} | found.model_dump(mode="json"))
            print(f"{erasure.name}, seed {seed}: attacked", flush=True)
            write_results(arguments.out, arguments.seed, {"table": rows, "results": results})
    print(markdown(rows))
    failed = {(r["erasure"], r["seed"], r["attack"]) for r in rows if r["inconclusive"]}
    print(f"{len(failed)} results inconclusive; written to {arguments.out}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", action="append", type=int, required=True)
    parser.add_argument("--attack", action="append", default=[], help="Default: all.")
    parser.add_argument("--set", dest="changes", action="append", default=[])
    parser.add_argument("--retrained", help="Digits without 0; default: trained into --runs.")
    parser.add_argument("--runs", type=Path, default=Path("runs/attacks"))
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def list_erasures(arguments: argparse.Namespace) -> list[Erasure]:
    heart: dict[str, Any] = {
        "model": "zoo:digits-symbol",
        "request": HEART,
        "retrained": "zoo:digits-retrained",
    }
    one_step: dict[str, Any] = {"method": "neggrad", "changes": ("train.steps=1",)}
    return [
        Erasure(
            name="SFD, digit 0",
            model="zoo:digits",
            request=efface.ForgetClass(labels=(0,), replacement=(1,)),
            retrained=arguments.retrained or without_zero(arguments.runs),
            recipe=RECIPES / "digits-sfd.toml",
        ),
        Erasure(name="NegGrad at one step, heart", **one_step, **heart),
        Erasure(name="SISS, heart", recipe=RECIPES / "digits-siss.toml", **heart),
    ]


def without_zero(runs: Path) -> str:
    """The digits model trained in the same way on all digits but 0."""
    out = runs / "digits-without-0"
    recipe = RECIPES / "digits-teacher.toml"
    train(recipe, out, changes=["data.without_labels=[0]"], resume=out.exists(), overwrite=False)
    return str(out)


def make_run(arguments: argparse.Namespace, erasure: Erasure, seed: int) -> Path:
    slug = "".join(c if c.isalnum() else "-" for c in erasure.name.lower())
    out = arguments.runs / f"{slug}-seed{seed}"
    return efface.forget(
        erasure.model,
        erasure.request,
        out,
        method=erasure.method,
        recipe=erasure.recipe,
        changes=[*erasure.changes, *seed_changes(seed)],
        resume=out.exists(),
        measure=False,
    )


def choose_fitting(arguments: argparse.Namespace, erasure: Erasure) -> list[Attack]:
    info = inspect_model(erasure.model)
    settings = choose_settings(
        erasure.request, info, erasure.method, erasure.recipe, erasure.changes
    )
    material = erasure.request.read(info, settings)
    return fitting(choose(arguments.attack, []), material, strict=False)


def attack_run(arguments: argparse.Namespace, erasure: Erasure, run: Path, seed: int) -> Attacks:
    """All attacks that apply, or those of the chosen ones that do."""
    names = [one.name for one in choose_fitting(arguments, erasure)]
    changes = [change for change in arguments.changes if change.partition(".")[0] in names]
    seeds = [f"{name}.seed={seed}" for name in names]
    found = attack(run, names, retrained=erasure.retrained, changes=[*changes, *seeds])
    return found.model_copy(update={"results": [r for r in found.results if r.attack in names]})


def rows_of(erasure: str, seed: int, found: Attacks) -> list[dict[str, Any]]:
    """One row per attack and model: costs, what is shown at first and at the full budget."""
    return [
        {
            "erasure": erasure,
            "seed": seed,
            "attack": result.attack,
            "model": line,
            "costs": {f"{cost.share:.0%}": cost.budget for cost in result.costs[line]},
            "images": result.costs[line][0].images,
            "unit": result.curve.x_label,
            "first": points[0].model_dump(),
            "recovery": recovery(result, line),
            "level": result.level,
            "floor": result.floor,
            "inconclusive": result.void,
            "seconds": result.seconds,
        }
        for result in found.results
        for line, points in result.curve.lines.items()
    ]


def recovery(result: AttackResult, line: str) -> str:
    """What a model shows at the full budget; without one a note says what the curve amounts to."""
    notes = [note for note in result.notes if note.startswith(f"{line}: ")]
    if notes:
        return notes[0].removeprefix(f"{line}: ")
    last = result.curve.lines[line][-1]
    return described(Estimate(value=last.value, low=last.low, high=last.high))


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table for the documentation: a line per erasure, seed, attack and model."""
    head = ["erasure", "seed", "attack", "model", "50 % back", "90 % back", "at the full budget"]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        attacked = f"{row['attack']} (inconclusive)" if row["inconclusive"] else row["attack"]
        costs = ["not reached" if c is None else f"{c:.3g}" for c in row["costs"].values()]
        cells = [row["erasure"], row["seed"], attacked, row["model"], *costs]
        lines.append([*cells, row["recovery"]])
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


if __name__ == "__main__":
    main()
