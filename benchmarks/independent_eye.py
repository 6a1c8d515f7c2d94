"""Looks at digits with nothing of efface: PNG in, numbers out (numpy, Pillow, scipy, scikit-learn).

    efface sample zoo:digits --count 225 --steps 50 --out eye/original
    efface sample runs/digits-2 --count 225 --out eye/result
    python benchmarks/independent_eye.py eye/original eye/result --forgotten 2 --replacement 7

The images are named labelNNNN_*.png, as `efface sample` names them. A support vector classifier and
principal components, both fitted on the digits that scikit-learn carries, take the place of the
judge. Distances are Frechet distances to the real digits of the retained labels, on pixels from 0
to 1, on 24 principal components and on the classifier's scores; recall is that of Kynkaanniemi et
al. (2019) with k = 3, on the components. `low` and `high` bound 95 % of 300 bootstrap resamples of
generated images (accuracies, distances) or of real ones (recall).
"""

from __future__ import annotations

import argparse
import functools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial.distance import cdist
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.svm import SVC

Array = NDArray[Any]
RESAMPLES = 300
COMPONENTS = 24
NEIGHBOURS = 3


@dataclass(frozen=True)
class Digits:
    """Images (N, 64) with pixels from 0 to 1, and the labels that they were made for."""

    images: Array
    labels: Array

    def of(self, keep: Array) -> Digits:
        return Digits(self.images[keep], self.labels[keep])


def read_folder(folder: Path) -> Digits:
    """Images by the label in their names; ValueError for a folder that holds none."""
    images, labels = [], []
    for path in sorted(folder.glob("*.png")):
        named = re.fullmatch(r"label(\d+)_\d+", path.stem)
        if named:
            images.append(np.asarray(Image.open(path).convert("L"), dtype=float).ravel() / 255)
            labels.append(int(named[1]))
    if not images:
        raise ValueError(f"{folder} holds no images named labelNNNN_*.png: use efface sample")
    return Digits(np.stack(images), np.array(labels))


@functools.cache
def fitted() -> tuple[Digits, SVC, PCA]:
    """The real digits, and what is fitted on them."""
    data: Any = load_digits()
    real = Digits(data.data / 16, data.target)
    return real, SVC(C=10).fit(real.images, real.labels), PCA(COMPONENTS).fit(real.images)


def frechet(x: Array, y: Array) -> float:
    """|mean - mean'|^2 + tr(C + C' - 2 (C C')^1/2) of (N, D) and (M, D)."""
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    eigenvalues: Any = scipy.linalg.eigvals(a @ b)
    gap = x.mean(0) - y.mean(0)
    return float(
        gap @ gap + np.trace(a) + np.trace(b) - 2 * np.sqrt(eigenvalues.real.clip(0)).sum()
    )


def covered(real: Array, generated: Array) -> Array:
    """(N,) bool: which real images lie within reach of a generated one."""
    within = np.sort(cdist(generated, generated), axis=1)[:, NEIGHBOURS]
    return np.asarray((cdist(real, generated) <= within).any(1))


def views(judge: SVC, components: PCA) -> dict[str, Callable[[Array], Array]]:
    """What images are compared in."""
    return {
        "pixels": lambda images: images,
        "components": components.transform,
        "classifier": judge.decision_function,
    }


def look(original: Digits, result: Digits, forgotten: int, replacement: int) -> dict[str, Any]:
    """Every figure of both models, with the interval of the result's over the original's."""
    real, judge, components = fitted()
    real = real.of(real.labels != forgotten)
    rng = np.random.default_rng(0)
    figures: dict[str, Any] = {}
    asked = [m.images[m.labels == forgotten] for m in (original, result)]
    gone = [judge.predict(images) != forgotten for images in asked]
    figures["unlearning_accuracy"] = compared(gone, rng)
    seen = [float((judge.predict(images) == replacement).mean()) for images in asked]
    figures["replacement_seen"] = {"original": seen[0], "result": seen[1]}
    kept = [m.of(m.labels != forgotten) for m in (original, result)]
    right = [judge.predict(m.images) == m.labels for m in kept]
    figures["retained_accuracy"] = compared(right, rng)
    per_label = [
        {label: float(r[m.labels == label].mean()) for label in np.unique(m.labels)}
        for r, m in zip(right, kept, strict=True)
    ]
    losses = {label: per_label[0][label] - per_label[1][label] for label in per_label[0]}
    worst = max(losses, key=lambda label: losses[label])
    figures["worst_class"] = {
        "label": int(worst),
        "original": per_label[0][worst],
        "result": per_label[1][worst],
    }
    for name, view in views(judge, components).items():
        goal, (x, y) = view(real.images), [view(m.images) for m in kept]
        ratios = [
            frechet(resampled(y, rng), goal) / frechet(resampled(x, rng), goal)
            for _ in range(RESAMPLES)
        ]
        before, after = frechet(x, goal), frechet(y, goal)
        figures[f"distance_{name}"] = {
            "original": before,
            "result": after,
            "ratio": after / before,
            **bounds(ratios),
        }
    goal = components.transform(real.images)
    reached = [covered(goal, components.transform(m.images)) for m in kept]
    figures["recall"] = compared(reached, rng, paired=True)
    return figures


def compared(shares: list[Array], rng: np.random.Generator, paired: bool = False) -> dict[str, Any]:
    """The share of True in both, and result less original with the interval of that."""
    differences = []
    for _ in range(RESAMPLES):
        rows = [rng.integers(len(share), size=len(share)) for share in shares]
        rows = [rows[0], rows[0]] if paired else rows
        before, after = (share[row].mean() for share, row in zip(shares, rows, strict=True))
        differences.append(after - before)
    before, after = (float(share.mean()) for share in shares)
    return {
        "original": before,
        "result": after,
        "difference": after - before,
        **bounds(differences),
    }


def resampled(rows: Array, rng: np.random.Generator) -> Array:
    return rows[rng.integers(len(rows), size=len(rows))]


def bounds(values: list[float]) -> dict[str, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return {"low": float(low), "high": float(high)}


def worse(figures: dict[str, Any]) -> list[str]:
    """What is worse than the original model's beyond its interval."""
    found = [n for n, f in figures.items() if n.startswith("distance_") and f["low"] > 1]
    return found + [n for n in ("retained_accuracy", "recall") if figures[n]["high"] < 0]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("original", type=Path, help="samples of the original model")
    parser.add_argument("result", type=Path, help="samples of the model that forgot")
    parser.add_argument("--forgotten", type=int, required=True)
    parser.add_argument("--replacement", type=int, required=True)
    given = parser.parse_args()
    figures = look(
        read_folder(given.original), read_folder(given.result), given.forgotten, given.replacement
    )
    print(json.dumps(figures | {"worse": worse(figures)}, indent=2))


if __name__ == "__main__":
    main()
