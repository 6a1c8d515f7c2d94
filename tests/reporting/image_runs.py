"""Run folders that forget images, with numbers chosen by the test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from efface.records import Evaluation, ForgottenImage, Result, RunRecord, write_json
from tests.reporting.conftest import Triple, make_record, make_result, make_value

SAMPLES = 1024


def make_image_record(names: list[str] | None = None, **changes: Any) -> RunRecord:
    names = ["heart.png"] if names is None else names
    request = {
        "kind": "images",
        "images": "takedown/2026-03",
        "retain": "generate",
        "unseen": "held-out",
        "prior": None,
    }
    material = {"names": names, "hashes": [f"{n:02x}" * 32 for n in range(len(names))]}
    fields: dict[str, Any] = {
        "request": request | changes.pop("request", {}),
        "material": material | changes.pop("material", {}),
        "model": {
            "source": "zoo:symbol",
            "network": "UNet2DModel",
            "classes": None,
            "null_label": None,
            "weights": {"unet/model.safetensors": "9f" * 32},
        },
        "settings": {
            "method": {"name": "siss", "mixture": 0.5},
            "train": {"steps": 60, "seed": 0, "guard_tolerance": 0.25},
            "evaluate": {"baseline_steps": 50, "guidance": 1.0},
        },
        "sampler": {"text": "50 DDIM steps", "passes": 50},
        "steps": 60,
    }
    return make_record(**fields | changes)


def make_image_result(
    metric: str,
    own: Triple,
    baseline: Triple,
    **others: Triple | None,
) -> Result:
    """`others` are retrained and unseen."""
    changes: dict[str, Any] = {
        "samples": SAMPLES,
        "seeds": [1000, 1000 + SAMPLES - 1],
        "protocol": "50 DDIM steps, both models from the same noise",
    }
    changes |= {key: make_value(triple) for key, triple in others.items() if triple is not None}
    return make_result(metric, own, baseline, **changes)


def copy_rate(copies: int, samples: int = SAMPLES) -> Triple:
    """Share and 95 % interval by Wilson."""
    z, share = 1.96, copies / samples
    centre = (share + z * z / (2 * samples)) / (1 + z * z / samples)
    half = z * np.sqrt(share * (1 - share) / samples + (z / (2 * samples)) ** 2)
    half = half / (1 + z * z / samples)
    low, high = max(0.0, float(centre - half)), float(centre + half)
    return share, 0.0 if copies == 0 else low, high


def make_images(names: list[str]) -> list[ForgottenImage]:
    return [
        ForgottenImage(
            name=name,
            sha256=f"{n % 256:02x}" * 32,
            loss=0.0261 + 0.0001 * n,
            loss_baseline=0.0049,
            similarity=0.412,
            similarity_baseline=0.987,
            copies=0,
            copies_baseline=61,
        )
        for n, name in enumerate(names)
    ]


def make_image_evaluation(
    copies: tuple[int, int] | None = (61, 0),
    gap: tuple[Triple, Triple] | None = ((0.82, 0.78, 0.86), (0.01, -0.03, 0.045)),
    fd: Triple | None = (6.0, 5.8, 6.2),
    inception: Triple | None = (9.1, 8.9, 9.3),
    names: list[str] | None = None,
    **more: Any,
) -> Evaluation:
    """Copies and gap are before and after; the original model has FID 5.9, inception score 9.2.

    `more`: samples of the copy rate, precision, recall, retrained (whether it is there).
    """
    retrained = more.get("retrained", False)
    count = more.get("samples", SAMPLES)
    results = []
    if copies is not None:
        before, after = (copy_rate(c, count) for c in copies)
        rate = make_image_result(
            "copy_rate",
            after,
            before,
            retrained=copy_rate(0) if retrained else None,
        )
        rate.samples = count
        results.append(rate)
    if gap is not None:
        before, after = gap
        never = (0.03, -0.03, 0.09) if retrained else None
        results += [
            make_image_result("membership_gap", after, before, retrained=never),
            make_image_result(
                "membership_auc", (0.53, 0.44, 0.62), (0.99, 0.97, 1.0),
                retrained=(0.52, 0.43, 0.61) if retrained else None,
            ),
            make_image_result(
                "forgotten_loss", (0.0261, 0.0248, 0.0274), (0.0049, 0.0045, 0.0053),
                unseen=(0.0272, 0.0268, 0.0276),
                retrained=(0.0264, 0.025, 0.0278) if retrained else None,
            ),
            make_image_result(
                "copy_similarity", (0.412, 0.38, 0.444), (0.987, 0.981, 0.993),
                unseen=(0.401, 0.39, 0.412),
            ),
            make_image_result(
                "nll", (3.91, 3.84, 3.98), (1.42, 1.37, 1.47), unseen=(3.88, 3.85, 3.91)
            ),
        ]  # fmt: skip
    if fd is not None:
        results.append(make_image_result("fd", fd, (5.9, 5.7, 6.1)))
    if inception is not None:
        results.append(make_image_result("inception_score", inception, (9.2, 9.0, 9.4)))
    for metric in ("precision", "recall"):
        if metric in more:
            results.append(make_image_result(metric, more[metric], (0.8, 0.77, 0.83)))
    images = make_images(names or ["heart.png"])
    return Evaluation(results=results, images=images if results else [])


def write_samples(folder: Path, rows: int = 1, **grid: Any) -> None:
    """Noise in the shape of grids: 8 by 10 samples, and `rows` forgotten images."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)

    def noise(path: Path, height: int, width: int) -> None:
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)

    noise(folder / "before.png", 8 * 32, 10 * 32)
    noise(folder / "after.png", 8 * 32, 10 * 32)
    noise(folder / "images.png", rows * 32, 3 * 32)
    content = {
        "kind": "images",
        "rows": 8,
        "columns": 10,
        "labels": [],
        "names": [],
        "forgotten": [],
        "tile": 32,
        "before": "50 DDIM steps",
        "after": "50 DDIM steps",
        "copies_before": [3, 28, 47, 79],
        "copies_after": [],
    }
    (folder / "grid.json").write_text(json.dumps(content | grid), encoding="utf-8")


def write_image_run(
    folder: Path,
    record: RunRecord | None = None,
    evaluation: Evaluation | None = None,
    **samples: Any,
) -> Path:
    """Write a run folder; `samples` go to write_samples."""
    folder.mkdir(parents=True)
    write_json(folder / "record.json", record or make_image_record())
    write_json(folder / "evaluation.json", evaluation or make_image_evaluation())
    write_samples(folder / "samples", **samples)
    return folder
