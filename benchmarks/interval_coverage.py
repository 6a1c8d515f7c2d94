"""How often every interval holds the truth, in draws from distributions that are known.

    python benchmarks/interval_coverage.py --out benchmarks/results/interval-coverage.json

A case is an interval, a distribution and a number of samples. The truth of a share or a mean is
that of the distribution, that of a distance or a share of real images its mean over all draws: its
expected value at that number of samples against those real images. "Below" and "above" are the
shares of draws whose interval lies wholly on that side of the truth; width is the median. Broken
samples are 2 % of all, so many standard deviations away. Rows of cases that --only leaves out are
kept.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from interval_cases import CASES, Case
from results_file import checked_out, write_results

SEED = 1
DRAWS = 4000


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draws", type=int, default=DRAWS, help="of each case")
    parser.add_argument("--only", default="", help="cases whose names begin like this")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    chosen = [case for case in CASES if case.name.startswith(arguments.only)]
    rows = read_rows(arguments.out)
    commit = checked_out()
    order = [case.name for case in CASES]
    for case in chosen:
        rows = [row for row in rows if row["case"] != case.name]
        rows += [row | {"commit": commit} for row in measure(case, arguments.draws)]
        rows.sort(key=lambda row: order.index(row["case"]))
        write_results(arguments.out, [SEED], {"cases": rows}, commit)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """What was measured before; each row carries its commit."""
    return json.loads(path.read_text(encoding="utf-8"))["cases"] if path.exists() else []


def measure(case: Case, draws: int) -> Iterator[dict[str, Any]]:
    """One row per interval of the case."""
    start, rng = time.perf_counter(), np.random.default_rng(SEED)
    found = np.array(
        [[(e.value, e.low, e.high) for e in case.draw(rng)] for _ in range(draws)]
    )  # (draws, intervals, 3)
    for number, interval in enumerate(case.intervals):
        value, low, high = found[:, number].T
        truth = value.mean() if case.truth is None else case.truth[number]
        row = {
            "interval": interval,
            "case": case.name,
            "draws": draws,
            "truth": float(truth),
            "held": float(((low <= truth) & (truth <= high)).mean()),
            "below": float((high < truth).mean()),
            "above": float((low > truth).mean()),
            "width": float(np.median(high - low)),
        }
        took = f"{time.perf_counter() - start:.0f} s"
        print(f"{row['held']:.4f} {case.name}, {interval} ({took})", file=sys.stderr, flush=True)
        yield row


if __name__ == "__main__":
    main()
