"""The CIFAR-10 experiment: its recipes, and that its script runs, stops and resumes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from recipe_settings import request_settings

import efface
from efface.data.images import ImageSet
from efface.zoo.build.images import new_denoiser
from efface.zoo.build.settings import read_build_settings

ROOT = Path(__file__).parent.parent
NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def write_images(path: Path, per_class: int) -> None:
    """Noisy images of one colour per class, sorted by class as the real file is."""
    datasets = pytest.importorskip("datasets")
    rng = np.random.default_rng(per_class)
    labels = np.repeat(np.arange(10), per_class)
    colours = rng.integers(40, 216, (10, 1, 1, 3))
    pixels = (colours[labels] + rng.integers(-40, 40, (len(labels), 32, 32, 3))).astype(np.uint8)
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(NAMES))}
    )
    rows = {"image": list(pixels), "label": labels.tolist()}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(path)


def test_recipes_load_and_make_the_network_of_the_paper():
    teacher = read_build_settings(ROOT / "recipes" / "cifar10-teacher.toml")
    sfd = request_settings(efface.ForgetClass, ROOT / "recipes" / "cifar10-sfd.toml")
    assert sfd.method_name == "sfd"
    images = ImageSet(
        images=torch.zeros(1, 3, 32, 32, dtype=torch.uint8),
        labels=torch.zeros(1, dtype=torch.long),
        label_names=NAMES,
    )
    network = new_denoiser(teacher.network, images, True).network
    assert 35e6 < sum(p.numel() for p in network.parameters()) < 40e6


@pytest.mark.slow
def test_script_stops_resumes_and_writes_its_results(tmp_path: Path):
    data = tmp_path / "data"
    data.mkdir()
    write_images(data / "cifar10_train.parquet", 30)
    write_images(data / "cifar10_test.parquet", 10)
    script = ROOT / "benchmarks" / "cifar10.py"
    command = [sys.executable, script, "--tiny", "--work", tmp_path / "work", "--data", data]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_DATASETS_CACHE": str(tmp_path / "hf")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "work" / "cifar10-sfd.json").read_text())
    assert {"command", "commit", "date", "machine", "seeds", "expected", "bars"} <= set(content)
    assert {"unlearning_accuracy", "retained_accuracy", "fd"} <= set(content["results"])
    for result in content["results"].values():
        assert {"value", "low", "high", "baseline", "seeds"} <= set(result)
    assert len(content["bars"]) == 3
    assert "JPEG" in content["data"]
    for stage in ("teacher", "sfd"):
        pieces = [call["finished"] for call in content["calls"] if call["stage"] == stage]
        assert pieces == [False, True]  # stopped at its only inner checkpoint, then resumed
        assert content[stage]["images_per_second_steady"] > 0
        assert content[stage]["share_of_peak"] is None or content[stage]["share_of_peak"] > 0
