"""A sixth kind of request from another package: forget, attack and its own subcommand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from efface.diffusion.denoiser import Denoiser
from efface.diffusion.loading import save_pipeline

ROOT = Path(__file__).parents[2]
METADATA = "Metadata-Version: 2.1\nName: efface-brightness\nVersion: 0.1\n"
ENTRY_POINTS = (
    "[efface.requests]\nbrightness = tests.requests.brightness.request:ForgetBrightness\n"
)
SMALL = ("train.steps=2", "train.batch_size=4", "evaluate.baseline_steps=2")
BUDGET = ("relearn.steps=[1, 2]", "relearn.images=[1, 2]", "relearn.samples=6")
BUDGET += ("relearn.sampling_steps=2", "relearn.batch_size=4")


@pytest.fixture(scope="module")
def efface(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """The command line in a process in which another package registers a kind of request."""
    site = tmp_path_factory.mktemp("site")
    package = site / "efface_brightness-0.1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text(METADATA)
    (package / "entry_points.txt").write_text(ENTRY_POINTS)
    path = os.pathsep.join([str(site), str(ROOT)])
    environment = os.environ | {"PYTHONPATH": path, "COLUMNS": "100"}

    def run(*arguments: object) -> str:
        command = [sys.executable, "-m", "efface", *map(str, arguments)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def run(
    efface: Callable[..., str],
    tiny_unet: Callable[..., Denoiser],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    folder = tmp_path_factory.mktemp("brightness")
    save_pipeline(tiny_unet(conditional=False), folder / "model")
    changes = [part for change in SMALL for part in ("--set", change)]
    arguments = ("--above", "0.4", "--out", folder / "run", "--no-evaluate", *changes)
    efface("forget", "brightness", folder / "model", *arguments)
    return folder / "run"


def test_its_subcommand_comes_from_its_fields(efface: Callable[..., str]) -> None:
    page = efface("forget", "brightness", "--help")
    assert "Forget all images above a brightness." in page
    assert "--above" in page and "Mean of the pixels, from 0 to 1." in page
    assert "--label" not in page and "--null-label" not in page
    assert "brightness.samples" in efface("settings", "brightness")


def test_it_is_forgotten(run: Path) -> None:
    record = json.loads((run / "record.json").read_text())
    assert record["status"] == "finished"
    assert record["request"] == {"kind": "brightness", "above": 0.4}
    assert record["settings"]["brightness"] == {"samples": 24}
    assert record["notes"] == {"bright": 4}
    assert record["output"] != record["model"]["weights"]


def test_it_is_evaluated_reported_and_compared(efface: Callable[..., str], run: Path) -> None:
    page = efface("evaluate", run)
    assert page.startswith("No effect: they appeared in 24 of 24 samples")
    (result,) = json.loads((run / "evaluation.json").read_text())["results"]
    assert result["spec"]["label"] == "Bright rate" and result["difference"] is not None
    html = (run / "report.html").read_text(encoding="utf-8")
    assert "Bright rate" in html and "samples that are bright" in html
    assert "Bright rate" in efface("compare", run, run)


def test_it_is_attacked(efface: Callable[..., str], run: Path) -> None:
    changes = [part for change in BUDGET for part in ("--set", change)]
    page = efface("attack", run, "--attack", "relearn", *changes)
    assert "relearn" in page
    (result,) = json.loads((run / "attacks.json").read_text())["results"]
    assert {"result", "baseline", "weak"} <= result["curve"]["lines"].keys()
    assert result["curve"]["y_label"] == "share of bright samples"


def test_another_process_without_the_package_says_so(run: Path) -> None:
    command = [sys.executable, "-m", "efface", "attack", str(run)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "'brightness'" in done.stderr
    assert "Traceback" not in done.stderr
