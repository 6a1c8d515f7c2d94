"""The CIFAR-10 experiment at a size for a CPU: settings, and a few of the images."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet

FILES = {"source": "cifar10_train.parquet", "held_out": "cifar10_test.parquet"}
TINY_ROWS = {"source": 500, "held_out": 200}
TINY_TRAIN = [
    "train.batch_size=16",
    "train.mixed_precision=no",
    "train.compile=false",
    "train.channels_last=false",
    "train.warmup_steps=2",
    "train.log_every=5",
]
TINY = {
    "teacher": [
        "network.channels=[8, 16]",
        "network.attention=[false, true]",
        "network.layers=1",
        "network.norm_groups=4",
        "train.steps=20",
        "train.checkpoint_every=10",
        "judge.widths=[8, 16]",
        "judge.epochs=2",
        "judge.batch_size=50",
        "judge.reference_images=400",
        *TINY_TRAIN,
    ],
    "sfd": [
        "train.steps=10",
        "train.checkpoint_every=5",
        "train.guard_every=5",
        "evaluate.forget_samples=20",
        "evaluate.retain_samples=90",
        "evaluate.baseline_steps=4",
        *TINY_TRAIN,
    ],
}


def thin(folder: Path, out: Path) -> Path:
    """Write evenly spread rows, so of all classes, of the data into `out`; returns it."""
    out.mkdir(exist_ok=True)
    for key, name in FILES.items():
        if not (out / name).exists():
            table = pyarrow.parquet.read_table(folder / name)
            every = max(1, len(table) // TINY_ROWS[key])
            pyarrow.parquet.write_table(table.take(list(range(0, len(table), every))), out / name)
    return out
