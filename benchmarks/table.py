"""Prints the results of benchmarks/forget_class.py as a Markdown table.

python benchmarks/table.py benchmarks/results/digits-sfd.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

METRICS = {
    "unlearning_accuracy": ("unlearning accuracy", "{:.3f}"),
    "retained_accuracy": ("retained accuracy", "{:.3f}"),
    "fd": ("Fréchet distance", "{:.2f}"),
    "precision": ("precision", "{:.2f}"),
    "recall": ("recall", "{:.2f}"),
}


def main() -> None:
    for path in map(Path, sys.argv[1:]):
        content = json.loads(path.read_text())
        print(f"`{content['command']}`\n")
        print("\n".join(table(content["runs"])), "\n")


def table(runs: list[dict[str, Any]]) -> list[str]:
    """A row per variant and pair: mean over seeds, and the original model in brackets."""
    names = [name for name, _ in METRICS.values()]
    lines = [
        "| " + " | ".join(["setting", "pair", "seeds", *names]) + " |",
        "| --- " * (3 + len(names)) + "|",
    ]
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in runs:
        groups.setdefault((run["variant"], run["pair"]), []).append(run)
    for (variant, pair), own in groups.items():
        cells = [variant, pair.replace(":", " → "), str(len(own))]
        for metric, (_, style) in METRICS.items():
            results = [run["results"][metric] for run in own]
            value = sum(r["value"] for r in results) / len(own)
            baseline = sum(r["baseline"]["value"] for r in results) / len(own)
            spread = ""
            if len(own) > 1:
                low, high = (f([r["value"] for r in results]) for f in (min, max))
                spread = f", {style.format(low)} to {style.format(high)}"
            cells.append(f"{style.format(value)}{spread} ({style.format(baseline)})")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


if __name__ == "__main__":
    main()
