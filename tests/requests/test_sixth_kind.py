"""A sixth kind of request from another package, from its subcommand to a verified pack."""

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
BUDGET = ("relearning.steps=[1, 2]", "relearning.images=[1, 2]", "relearning.samples=6")
BUDGET += ("relearning.sampling_steps=2", "relearning.batch_size=4")
COMMANDS = """
import json, sys
from typer.testing import CliRunner
from efface.attacks import weak
from efface.cli import app
weak.SAMPLES, weak.STEPS, weak.ROWS, weak.RATES = 4, 2, 4, (2e-3,)
pages = {}
for name, arguments in json.loads(sys.argv[1]).items():
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    pages[name] = done.output
print(json.dumps(pages))
"""


@pytest.fixture(scope="module")
def run(tiny_unet: Callable[..., Denoiser], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of the sixth kind."""
    folder = tmp_path_factory.mktemp("brightness")
    small = tiny_unet(conditional=False, channels=(8,), attention=(False,))
    save_pipeline(small, folder / "model")
    return folder / "run"


@pytest.fixture(scope="module")
def pages(run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What commands print in a process in which another package registers a kind of request."""
    site = tmp_path_factory.mktemp("site")
    package = site / "efface_brightness-0.1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text(METADATA)
    (package / "entry_points.txt").write_text(ENTRY_POINTS)
    model, out = str(run.with_name("model")), str(run)
    commands = {
        "help": ["forget", "brightness", "--help"],
        "settings": ["settings", "brightness"],
        "forget": ["forget", "brightness", model, "--above", "0.4", "--out", out, "--no-evaluate"],
        "evaluate": ["evaluate", out],
        "attack": ["attack", out, "--attack", "relearning"],
        "compare": ["compare", out, out],
        "pack": ["report", out, "--pack", f"{out}.zip"],
        "verify": ["verify", f"{out}.zip", "--model", f"{out}/pipeline"],
    }
    for name, changes in (("forget", SMALL), ("attack", BUDGET)):
        commands[name] += [part for change in changes for part in ("--set", change)]
    path = os.pathsep.join([str(site), str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, json.dumps(commands)],
        env=os.environ | {"PYTHONPATH": path, "COLUMNS": "100"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_its_subcommand_comes_from_its_fields(pages: dict[str, str]) -> None:
    page = pages["help"]
    assert "Forget all images above a brightness." in page
    assert "--above" in page and "Mean of the pixels, from 0 to 1." in page
    assert "--label" not in page and "--null-label" not in page
    assert "brightness.samples" in pages["settings"]


@pytest.mark.usefixtures("pages")
def test_it_is_forgotten(run: Path) -> None:
    record = json.loads((run / "record.json").read_text())
    assert record["status"] == "finished"
    assert record["request"] == {"kind": "brightness", "above": 0.4}
    assert record["settings"]["brightness"] == {"samples": 24}
    assert record["notes"] == {"bright": 4}
    assert record["output"] != record["model"]["weights"]


def test_it_is_evaluated_reported_and_compared(pages: dict[str, str], run: Path) -> None:
    assert pages["evaluate"].startswith("No effect: they appeared in 24 of 24 samples")
    (result,) = json.loads((run / "evaluation.json").read_text())["results"]
    assert result["spec"]["label"] == "Bright rate" and result["difference"] is not None
    html = (run / "report.html").read_text(encoding="utf-8")
    assert "Bright rate" in html and "samples that are bright" in html
    assert "Bright rate" in pages["compare"]


def test_its_pack_is_verified(pages: dict[str, str]) -> None:
    assert "bright_rate" in pages["verify"] and "BAD" not in pages["verify"]


def test_it_is_attacked(pages: dict[str, str], run: Path) -> None:
    assert "relearning" in pages["attack"]
    (result,) = json.loads((run / "attacks.json").read_text())["results"]
    assert {"result", "baseline", "weak"} <= result["curve"]["lines"].keys()
    assert result["curve"]["y_label"] == "share of bright samples"


@pytest.mark.usefixtures("pages")
def test_a_process_without_the_package_says_so(run: Path, fails: Callable[..., str]) -> None:
    assert "'brightness'" in fails("attack", run)
