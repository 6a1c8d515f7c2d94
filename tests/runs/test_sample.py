"""Images written as files and as one sheet."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from efface.cli import app
from efface.errors import RequestError
from efface.runs.sample import sample

Pipelines = Callable[[str], Path]


def test_prompts_are_sampled_to_a_sheet(pipelines: Pipelines, tiny_model: Path, tmp_path: Path):
    given = ["sample", str(pipelines("sd")), "--count", "2", "--steps", "2"]
    given += ["--prompt", "a red bag", "--prompt", "a coat", "--out", str(tmp_path / "sheet")]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0 and "4 images" in done.output
    names = sorted(path.name for path in (tmp_path / "sheet").iterdir())
    assert names[0] == "grid.png" and names[1:] == [
        f"prompt{n:04d}_{i:05d}.png" for n in range(2) for i in range(2)
    ]
    first = [(tmp_path / "sheet" / name).read_bytes() for name in names[1:]]
    assert len(set(first)) == 4
    with pytest.raises(RequestError, match="takes no prompts"):
        sample(tiny_model, tmp_path / "no", prompts=["a bag"], count=1)


def test_labels_are_sampled_to_one_file_per_image(tiny_model: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet"
    assert sample(tiny_model, sheet, labels=[1, 2], count=3, steps=1) == 6
    assert len(list(sheet.glob("label*.png"))) == 6
    with pytest.raises(RequestError, match="nothing there was touched"):
        sample(tiny_model, sheet, labels=[1], count=1)


@pytest.fixture
def broken(tiny_model: Path, tmp_path: Path) -> Callable[..., Path]:
    """A model with one weight of another value, and settings of its scheduler."""

    def make(weight: str | None = None, value: float = 0.0, **config: object) -> Path:
        folder = shutil.copytree(tiny_model, tmp_path / "broken")
        path = folder / "unet" / "diffusion_pytorch_model.safetensors"
        weights = load_file(path)
        if weight is not None:
            weights[weight].fill_(value)
        save_file(weights, path)
        path = folder / "scheduler" / "scheduler_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | config))
        return folder

    return make


@pytest.mark.parametrize(
    ("weight", "value", "sentence"),
    [
        ("conv_in.weight", math.nan, "unet is broken: its weight conv_in.weight"),
        ("conv_norm_out.bias", math.inf, "unet is broken: its weight conv_norm_out.bias"),
        ("conv_in.weight", 3e38, "broken generates images that are not finite numbers"),
        ("time_embedding.linear_2.weight", 3e38, "broken generates images that are not finite"),
        ("conv_out.bias", 50, "broken generates images of a single value"),
        ("conv_out.bias", -50, "broken generates images of a single value"),
    ],
)
def test_no_image_is_written_by_a_broken_model(
    broken: Callable[..., Path], fails: Callable[..., str], tmp_path: Path, weight, value, sentence
) -> None:
    folder, sheet = broken(weight, value, prediction_type="sample"), tmp_path / "sheet"
    given = ["sample", str(folder), "--label", "1", "--count", "2", "--steps", "3"]
    assert sentence in " ".join(fails(*given, "--out", str(sheet)).split())
    assert not sheet.exists()


def test_more_steps_than_timesteps_are_refused(
    broken: Callable[..., Path], fails: Callable[..., str], tmp_path: Path
) -> None:
    folder, sheet = broken(num_train_timesteps=20), tmp_path / "sheet"
    assert sample(folder, sheet, labels=[1], count=2) == 2
    given = ["sample", str(folder), "--label", "1", "--steps", "30", "--out", str(sheet / "more")]
    assert "30 steps were asked for" in " ".join(fails(*given).split())
