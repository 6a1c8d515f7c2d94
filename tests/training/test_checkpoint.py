"""Checkpoints are complete or absent, and a killed run resumes to the very same result."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from efface.errors import RunError
from efface.training import checkpoint
from efface.training.checkpoint import (
    Checkpoints,
    ModuleState,
    OptimizerState,
    Progress,
    TensorState,
)
from efface.training.guard import CollapseGuard

FORGET = [sys.executable, "-m", "efface", "forget", "class"]
SETTINGS = [
    "train.steps=12",
    "train.batch_size=8",
    "train.checkpoint_every=3",
    "train.log_every=1",
    "train.learning_rate=1e-3",
    "train.ema_decay=0.5",
    "train.guard_every=4",
    "method.share_student_pass=true",
    "method.forget_share=0.5",
]


def command(model: Path, out: Path, *more: str) -> list[str]:
    changes = [part for setting in SETTINGS for part in ("--set", setting)]
    where = [str(model), "--label", "0", "--replace", "1", "--out", str(out)]
    return [*FORGET, *where, *changes, "--no-evaluate", *more]


def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        arguments, capture_output=True, text=True, env=environment, timeout=200, check=False
    )


def test_state_goes_through_a_checkpoint_unchanged(tmp_path: Path) -> None:
    def make() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        module = torch.nn.Linear(3, 2)
        return module, torch.optim.AdamW(module.parameters(), lr=0.1, fused=True)

    def step(module: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        module(torch.ones(1, 3)).square().sum().backward()
        optimizer.step()

    module, optimizer = make()
    step(module, optimizer)
    objects = {"module": ModuleState(module), "optimizer": OptimizerState(optimizer)}
    folder = Checkpoints(tmp_path).save(objects, Progress(step=1, seconds=2.5))
    other, other_optimizer = make()
    others = {"module": ModuleState(other), "optimizer": OptimizerState(other_optimizer)}
    assert Checkpoints.restore(folder, others) == Progress(step=1, seconds=2.5)
    for _ in range(3):
        step(module, optimizer)
        step(other, other_optimizer)
    assert module.weight.equal(other.weight)


@pytest.mark.parametrize("tensors", [{}, {"a.weight": torch.arange(4) % 2 == 0}])
def test_named_tensors_go_through_a_checkpoint_unchanged(
    tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    """None at all as well: most methods prepare nothing."""
    state, other = (TensorState(torch.device("cpu")) for _ in range(2))
    state.restore(tensors)
    folder = Checkpoints(tmp_path).save({"prepared": state}, Progress(step=1))
    Checkpoints.restore(folder, {"prepared": other})
    assert other.tensors().keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert other.tensors()[name].equal(tensor)


def test_old_checkpoints_go(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (1, 2, 3):
        checkpoints.save({"m": ModuleState(torch.nn.Linear(1, 1))}, Progress(step=step))
    assert checkpoints.steps() == [2, 3]


def test_full_disk_leaves_earlier_checkpoints_and_no_half_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(tmp_path)
    objects = {"m": ModuleState(torch.nn.Linear(1, 1))}
    checkpoints.save(objects, Progress(step=1))

    def full(tensors: object, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(RunError, match="No space left on device"):
        checkpoints.save(objects, Progress(step=2))
    assert [p.name for p in tmp_path.iterdir()] == ["step_00000001"]


STRANGE = (
    *(".part_00000009", "step_", "step_9", "step_000009", "step_-0000009", "step_0000009x"),
    *("step_00000009.old", "step_000000009", "step_99999999999999", "step_\u0661\u0661111111"),
    *("Step_00000009", "step_0000_009", "step_ 0000009", "step_00000009 (1)"),
)


@pytest.mark.parametrize("name", STRANGE)
def test_what_is_called_otherwise_is_no_checkpoint(tmp_path: Path, name: str) -> None:
    """It stays where it is, too."""
    objects = {"m": ModuleState(torch.nn.Linear(1, 1))}
    (tmp_path / name).mkdir()
    checkpoints = Checkpoints(tmp_path, keep=1)
    assert checkpoints.latest() is None
    for step in (1, 2):
        checkpoints.save(objects, Progress(step=step))
    assert checkpoints.steps() == [2] and (tmp_path / name).is_dir()


def test_a_file_is_no_checkpoint_and_a_link_to_one_is(tmp_path: Path) -> None:
    (tmp_path / "step_00000009").touch()
    checkpoints = Checkpoints(tmp_path, keep=1)
    assert checkpoints.latest() is None
    objects = {"m": ModuleState(torch.nn.Linear(1, 1))}
    made = Checkpoints(tmp_path / "disk").save(objects, Progress(step=1))
    (tmp_path / "step_00000001").symlink_to(made)
    assert checkpoints.restore(tmp_path / "step_00000001", objects).step == 1
    checkpoints.save(objects, Progress(step=2))
    assert made.is_dir()


STATES = {
    "missing": None,
    "empty": b"",
    "truncated": b'{"step": 1, "seco',
    "no text": b"\xff\xfe\x00",
    "a list": b"[1]",
    "a number": b"1",
    "of another program": b'{"epoch": 3, "global_step": 1}',
    "of another step": b'{"step": 2}',
    "a step that is text": b'{"step": "one"}',
    "a step that is negative": b'{"step": -1}',
    "a step that is infinite": b'{"step": 1e999}',
    "a step that is huge": b'{"step": 1' + b"0" * 5000 + b"}",
    "seconds that are no number": b'{"step": 1, "seconds": NaN}',
    "a guard's log that is none": b'{"step": 1, "guard_log": [{"step": "x"}]}',
    "a sentence that is none": b'{"step": 1, "stopped": 3}',
    "a key twice": b'{"step": 1, "step": 1}',
    "deep": b'{"step": 1, "stopped": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
}


@pytest.mark.parametrize("name", STATES)
def test_a_state_that_is_none_of_ours_is_one_sentence(tmp_path: Path, name: str) -> None:
    objects = {"m": ModuleState(torch.nn.Linear(1, 1))}
    folder = Checkpoints(tmp_path).save(objects, Progress(step=1))
    content = STATES[name]
    if content is None:
        (folder / "state.json").unlink()
    else:
        (folder / "state.json").write_bytes(content)
    with pytest.raises(RunError, match=f"remove {folder} to resume before it") as error:
        Checkpoints.restore(folder, objects)
    assert "\n" not in str(error.value) and len(str(error.value)) < 600


TENSORS: dict[str, dict[str, dict[str, torch.Tensor]]] = {
    "module": {
        "none": {},
        "of another network": {"conv.weight": torch.ones(3)},
        "of another shape": {"weight": torch.ones(5, 5), "bias": torch.ones(5)},
        "one too few": {"weight": torch.ones(2, 3)},
    },
    "optimizer": {
        "of no parameter": {"9.step": torch.ones(())},
        "without a number": {"step": torch.ones(())},
        "with another number": {"x.step": torch.ones(())},
    },
    "guard": {"none": {}, "several numbers": {"best": torch.ones(2), "bad": torch.ones(2)}},
}


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, names in TENSORS.items() for name in names]
)
def test_tensors_of_another_run_are_one_sentence(tmp_path: Path, kind: str, name: str) -> None:
    module = torch.nn.Linear(3, 2)
    guard = object.__new__(CollapseGuard)  # what it restores are two numbers
    stateful = {
        "module": ModuleState(module),
        "optimizer": OptimizerState(torch.optim.AdamW(module.parameters())),
        "guard": guard,
    }
    foreign = TensorState(torch.device("cpu"))
    foreign.restore(TENSORS[kind][name])
    folder = Checkpoints(tmp_path).save({kind: foreign}, Progress(step=1))
    with pytest.raises(RunError, match=f"{kind}.safetensors is not what this run wrote") as error:
        Checkpoints.restore(folder, {kind: stateful[kind]})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [None, b"", b"junk", b"\x00" * 100, "half"])
def test_tensors_that_cannot_be_read_are_one_sentence(
    tmp_path: Path, content: bytes | str | None
) -> None:
    objects = {"m": ModuleState(torch.nn.Linear(1, 1))}
    folder = Checkpoints(tmp_path).save(objects, Progress(step=1))
    file = folder / "m.safetensors"
    whole = file.read_bytes()
    file.unlink()
    if content is not None:
        file.write_bytes(whole[:-3] if isinstance(content, str) else content)
    with pytest.raises(RunError, match="to resume before it"):
        Checkpoints.restore(folder, objects)


@pytest.fixture(scope="module")
def uninterrupted(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    result = run(command(tiny_model, out))
    assert result.returncode == 0, result.stderr
    return out


@pytest.mark.slow  # test_trainer.py resumes to the same weights in the fast suite
def test_run_killed_at_random_moments_resumes_to_bit_identical_weights(
    tiny_model: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    """kill -9 three times, some random time after a random step was logged, then resume."""
    out = tmp_path / "killed"
    seed = random.SystemRandom().randrange(2**32)
    print(f"moments sampled with seed {seed}")
    moments = random.Random(seed)
    for attempt, step in enumerate(sorted(moments.randint(1, 11) for _ in range(3))):
        more = ["--resume"] if attempt else []
        process = subprocess.Popen(
            command(tiny_model, out, *more),
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        log, deadline = out / "metrics.jsonl", time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if log.exists() and f'{{"step": {step},' in log.read_text():
                break
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.wait()
    result = run(command(tiny_model, out, "--resume"))
    assert result.returncode == 0, result.stderr
    name = "pipeline/unet/diffusion_pytorch_model.safetensors"
    own, whole = load_file(out / name), load_file(uninterrupted / name)
    assert own.keys() == whole.keys()
    for key, tensor in whole.items():
        assert own[key].equal(tensor), key
    steps = [line.split(",")[0] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert steps == [f'{{"step": {i}' for i in range(1, 13)]
