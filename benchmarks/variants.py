"""Runs of one recipe with several variants and seeds: what the scripts that make them share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from efface.records import Result

MODELS = ("value", "baseline", "distilled")  # the result, and what it is compared with


def parse_pairs(doc: str | None) -> argparse.Namespace:
    """The arguments of a script that forgets labels by a recipe."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--pair", action="append", required=True, help="FORGET:REPLACE")
    add_options(parser)
    return parser.parse_args()


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", action="append", type=int, required=True)
    parser.add_argument("--variant", action="append", default=[], help="NAME:k=v,k=v")
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmark"))
    parser.add_argument("--out", type=Path, required=True)


def parse_variants(texts: list[str]) -> dict[str, list[str]]:
    """Name -> changes to the recipe; the recipe alone where no variant was given."""
    return dict(parse_variant(text) for text in texts) or {"recipe": []}


def parse_variant(text: str) -> tuple[str, list[str]]:
    name, _, changes = text.partition(":")
    return name, [change for change in changes.split(",") if change]


def seed_changes(seed: int) -> list[str]:
    """Settings of a training seed, evaluated on samples of its own."""
    return [f"train.seed={seed}", f"evaluate.seed={1000 + 10_000 * seed}"]


def outcome(runs: list[dict[str, Any]], out: Path) -> str:
    met = all(all(run["bars"].values()) for run in runs)
    return f"{'all bars met' if met else 'NOT all bars met'}; written to {out}"


def figures(result: Result) -> dict[str, Any]:
    """A result and what it is compared with, each with its interval."""
    found: dict[str, Any] = {"samples": result.samples}
    for name in MODELS:
        interval = result if name == "value" else getattr(result, name)
        if interval is not None:
            value = interval.value
            found[name] = {"value": value, "low": interval.low, "high": interval.high}
    return found
