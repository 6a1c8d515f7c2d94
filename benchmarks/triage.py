"""Triage of images whose answer is known: verdicts, AUC against unseen images, false alarms.

    python benchmarks/triage.py --memorised zoo:digits-symbol --never-seen zoo:digits-retrained \
        --images zoo:symbol --unseen digits --out benchmarks/results/triage-digits.json

The same images are given for a model that was trained on them and for its twin that was not.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from results_file import write_results

import efface

SEEDS = (1000, 2000, 3000)  # of noise and samples: the first one of each


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--memorised", required=True, help="a model that was trained on them")
    parser.add_argument("--never-seen", required=True, help="its twin that was not")
    parser.add_argument("--images", required=True)
    parser.add_argument("--unseen", required=True)
    parser.add_argument("--set", dest="changes", action="append", default=[])
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    rows = []
    for truth, model in (
        ("memorised", arguments.memorised),
        ("not distinguishable from unseen", arguments.never_seen),
    ):
        for seed in SEEDS:
            rows.append(examine(arguments, model, truth, seed))
            print(rows[-1]["model"], seed, rows[-1]["verdicts"], rows[-1]["auc"], flush=True)
            write_results(arguments.out, list(SEEDS), {"rows": rows})


def examine(arguments: argparse.Namespace, model: str, truth: str, seed: int) -> dict[str, Any]:
    changes = [*arguments.changes, f"evaluate.seed={seed}"]
    triage = efface.triage(model, arguments.images, arguments.unseen, changes=changes)
    return {
        "model": Path(model).name,
        "truth": truth,
        "seed": seed,
        "verdicts": [finding.verdict for finding in triage.findings],
        "right": sum(finding.verdict == truth for finding in triage.findings),
        "findings": [asdict(finding) for finding in triage.findings],
        "auc": asdict(triage.membership.auc),
        "unseen": triage.unseen,
        "false_alarm_rate": triage.false_alarm_rate,
        "false_alarm_images": triage.false_alarm_images,
        "samples": triage.samples,
    }


if __name__ == "__main__":
    main()
