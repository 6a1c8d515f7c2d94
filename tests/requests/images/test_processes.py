"""Pictures are forgotten in processes of their own: killed, in twos, drawn without efface."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

import efface
from efface.diffusion.sampling import MultiStep, draw_images

WEIGHTS = "pipeline/unet/diffusion_pytorch_model.safetensors"
Given = Callable[..., list[str]]


def launch(launcher: list[str], given: list[str]) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"}
    return subprocess.Popen(
        [*launcher, "-m", "efface", *given],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.slow
def test_killed_and_resumed_is_bit_identical(tmp_path: Path, arguments: Given) -> None:
    more = ("--retain", "digits", "--no-evaluate", "--set", "train.checkpoint_every=3")
    more = (*more, "--set", "train.steps=12", "--set", "method.rule_name=dual")
    whole = launch([sys.executable], arguments(*more, out="whole"))
    assert whole.wait(200) == 0
    given = arguments(*more, out="killed")
    killed = launch([sys.executable], given)
    seen = random.Random(0).choice([3, 6])
    while killed.poll() is None and not list(
        (tmp_path / "killed" / "checkpoints").glob(f"*{seen}*")
    ):
        time.sleep(0.002)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "killed" / WEIGHTS).exists(), "the run ended before it was killed"
    resumed = launch([sys.executable], [*given, "--resume"])
    assert resumed.wait(200) == 0
    a, b = load_file(tmp_path / "whole" / WEIGHTS), load_file(tmp_path / "killed" / WEIGHTS)
    assert all(tensor.equal(b[key]) for key, tensor in a.items())


@pytest.mark.slow  # tests/training/test_processes.py has two processes in the fast suite
def test_two_processes_equal_one(tmp_path: Path, arguments: Given) -> None:
    more = ("--retain", "digits", "--no-evaluate", "--set", "method.ratio=0.3")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    logs = []
    for name, launcher in (("one", [sys.executable]), ("two", torchrun)):
        process = launch(launcher, arguments(*more, out=name))
        _, error = process.communicate(timeout=250)
        assert process.returncode == 0, error[-2000:]
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        logs.append([json.loads(line) for line in lines])
    compared = [k for k in logs[0][0] if k.startswith("student_") and "vanished" not in k]
    assert "student_forget_coefficient" in compared
    for a, b in zip(*logs, strict=True):
        for key in compared:
            assert a[key] == pytest.approx(b[key], rel=1e-5, abs=1e-5), (key, a["step"])
    a, b = load_file(tmp_path / "one" / WEIGHTS), load_file(tmp_path / "two" / WEIGHTS)
    for key, tensor in a.items():
        assert_close(tensor, b[key], rtol=0, atol=1e-5)


STOCK = """
import sys
import torch
from diffusers import DDIMPipeline
pipe = DDIMPipeline.from_pretrained(sys.argv[1])
pipe.set_progress_bar_config(disable=True)
noise = [torch.Generator().manual_seed(s) for s in (5, 6)]
images = pipe(batch_size=2, generator=noise, num_inference_steps=10, output_type="np").images
torch.save(torch.from_numpy(images), sys.argv[2])
"""


def test_the_output_draws_the_same_without_efface(
    forget: Callable[..., Path], without_efface: Callable[..., None], tmp_path: Path
) -> None:
    out, file = forget("--retain", "digits", "--no-evaluate"), tmp_path / "images.pt"
    without_efface(STOCK, out / "pipeline", file)
    own = draw_images(efface.load(out), MultiStep(10), None, [5, 6])
    stock = torch.load(file, weights_only=True).permute(0, 3, 1, 2)
    assert_close(own, stock, rtol=0, atol=1e-6)
