"""Two processes (gloo) are one run: the same losses, the same weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch.testing import assert_close

ARGUMENTS = [
    *("--label", "0", "--replace", "1", "--no-evaluate"),
    *("--set", "train.steps=4", "--set", "train.batch_size=8", "--set", "train.log_every=1"),
    *("--set", "train.learning_rate=1e-4", "--set", "method.forget_share=0.5"),
    *("--set", "method.student_forget_weight=1.0", "--set", "train.guard_every=2"),
]
LOSSES = (
    "fake_score_retain_loss",
    "fake_score_forget_loss",
    "student_retain_loss",
    "student_forget_loss",
)


def forget(launcher: list[str], model: Path, out: Path, *more: str) -> list[dict[str, float]]:
    environment = os.environ | {"ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1"}
    arguments = ["forget", "class", str(model), "--out", str(out), *ARGUMENTS, *more]
    result = subprocess.run(
        [*launcher, "-m", "efface", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=250,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("shared", [pytest.param("true", marks=pytest.mark.slow), "false"])
def test_two_processes_equal_one(shared: str, tiny_model: Path, tmp_path: Path) -> None:
    more = ("--set", f"method.share_student_pass={shared}")
    one = forget([sys.executable], tiny_model, tmp_path / "one", *more)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    two = forget(torchrun, tiny_model, tmp_path / "two", *more)
    assert len(one) == len(two) == 4
    for a, b in zip(one, two, strict=True):
        # After the first step the weights differ in their last digits, and the student's loss adds
        # up terms of both signs. Other noise, rows or weights of the sides would change it wholly.
        for name in LOSSES:
            bound = 1e-4 if a["step"] > 1 and name.startswith("student") else 1e-5
            assert a[name] == pytest.approx(b[name], rel=bound, abs=bound), (name, a["step"])
    file = "pipeline/unet/diffusion_pytorch_model.safetensors"
    a, b = load_file(tmp_path / "one" / file), load_file(tmp_path / "two" / file)
    for key, tensor in a.items():
        assert_close(tensor, b[key], rtol=0, atol=1e-5)
