"""Two processes (gloo) are one run: the same losses, the same weights, the same decisions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from accelerate import PartialState, debug_launcher
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from torch.testing import assert_close
from typer.testing import CliRunner

from efface.cli import app

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
SETTINGS = (
    "train.steps=4",
    "train.batch_size=8",
    "train.log_every=1",
    "train.learning_rate=1e-4",
    "train.guard_every=2",
    "method.forget_share=0.5",
    "method.student_forget_weight=1.0",
)
LOSSES = (
    "fake_score_retain_loss",
    "fake_score_forget_loss",
    "student_retain_loss",
    "student_forget_loss",
)


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As where there is no GPU, in this process and in those that it starts."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "1")
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def arguments(model: Path, out: Path, *changes: str) -> list[str]:
    """Of `efface`, to forget a class with tiny settings."""
    given = [part for change in (*SETTINGS, *changes) for part in ("--set", change)]
    where = [str(model), "--label", "0", "--replace", "1", "--out", str(out)]
    return ["forget", "class", *where, "--no-evaluate", *given]


def command(given: list[str], processes: int) -> None:
    """Run `efface` in this process, one of so many."""
    AcceleratorState._reset_state(reset_partial_state=True)
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, done.output
    assert PartialState().num_processes == processes


def log(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.usefixtures("on_cpu")
@pytest.mark.parametrize("shared", [pytest.param("true", marks=pytest.mark.slow), "false"])
def test_two_processes_equal_one(shared: str, tiny_model: Path, tmp_path: Path) -> None:
    change = f"method.share_student_pass={shared}"
    debug_launcher(command, (arguments(tiny_model, tmp_path / "two", change), 2), 2)
    command(arguments(tiny_model, tmp_path / "one", change), 1)
    one, two = log(tmp_path / "one"), log(tmp_path / "two")
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


SCRIPT = """
import json, sys
from pathlib import Path

import torch
from accelerate import Accelerator

from efface.data.source import ConditionSource
from efface.methods.base import InnerSteps
from efface.methods.sfd import SFD
from efface.training.guard import Check
from efface.training.settings import TrainSettings
from efface.training.trainer import Trainer
from tests.tiny import make_tiny_unet

out, end = Path(sys.argv[1]), sys.argv[2]
accelerator = Accelerator()
main = accelerator.is_main_process
calls = []


class Guard:
    \"\"\"Collapsed at the third check in the main process, at the first in any other.\"\"\"

    def check(self, student):
        calls.append("guard")
        collapsed = end == "guard" and len(calls) == (3 if main else 1)
        found = "moved away" if collapsed else None
        return Check(distance=0.0, spread=1.0, good=not collapsed, collapsed=found)

    def tensors(self):
        return {}

    def restore(self, tensors):
        pass


class Stopper:
    \"\"\"Enough at the third check in the main process, at the first in any other.\"\"\"

    def check(self, student):
        calls.append("stopper")
        return "enough" if len(calls) == (3 if main else 1) else None


class Bilevel(SFD):
    def prepare(self, contexts):  # differs by process: the main one's counts
        size, rank = next(contexts).batch.size, accelerator.process_index
        return {"rank": torch.tensor(float(rank)), "rows": torch.tensor(size)}

    def inner(self, phase):
        return InnerSteps(count=1, learning_rate=1e-3) if phase == "student" else None

    def inner_loss(self, phase, ctx):
        return self.loss(phase, ctx).total


denoiser, method = make_tiny_unet(), Bilevel(forget_share=0.5)
source = ConditionSource(
    table=denoiser.encode(range(10)), retain=list(range(1, 10)), forget=[0], replacements=[[1]],
    retain_rows=8, forget_rows=4, seed=0,
)
settings = TrainSettings(
    steps=6, batch_size=8, learning_rate=1e-4, guard_every=1 if end == "guard" else 0,
    stop_every=1 if end == "stopper" else 0,
)
checks = {"guard": {"guard": Guard()}, "stopper": {"stopper": Stopper()}, "none": {}}[end]
trainer = Trainer(
    method, method.networks(denoiser), source, settings, out, accelerator, **checks
)
result = trainer.run()
weights = torch.cat([p.detach().flatten() for p in result.denoiser.network.parameters()])
prepared = trainer.stepper.objects()["prepared"].tensors()
found = {
    "steps": result.steps, "collapsed": result.collapsed, "stopped": result.stopped,
    "checks": len(calls), "weights": weights[::50].tolist(),
    "rank": float(prepared["rank"]), "rows": int(prepared["rows"]),
}
file = out / f"{end}-{accelerator.num_processes}-{accelerator.process_index}.json"
file.write_text(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.parametrize("end", ["guard", "stopper", "none"])
def test_the_main_process_decides_for_all(end: str, tmp_path: Path) -> None:
    """Whatever the others would say; pre-pass and inner steps are those of one process."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {
        "ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": path
    }  # fmt: skip
    for launcher in (TORCHRUN, [sys.executable]):
        done = subprocess.run(
            [*launcher, str(script), str(tmp_path), end],
            capture_output=True,
            text=True,
            env=environment,
            timeout=250,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
    first, second, alone = (
        json.loads((tmp_path / f"{end}-{name}.json").read_text()) for name in ("2-0", "2-1", "1-0")
    )
    assert first["weights"] == second["weights"]
    assert first["weights"] == pytest.approx(alone["weights"], rel=0, abs=1e-5)
    assert (first["checks"], second["checks"]) == (0 if end == "none" else 3, 0)
    for found in (first, second, alone):
        assert found["steps"] == (6 if end == "none" else 2)
        assert (found["collapsed"] is not None) == (end == "guard")
        assert (found["stopped"] is not None) == (end == "stopper")
        assert found["rank"] == 0
    assert (first["rows"], alone["rows"]) == (6, 12)  # a part, and the whole
