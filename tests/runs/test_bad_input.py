"""Every mistake ends in one sentence, a non-zero exit and an untouched disk."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from efface.diffusion import loading
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.loading import save_pipeline
from efface.training.trainer import Trainer

Run = Callable[..., str]


@pytest.fixture
def no_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights must not be touched before the mistake is found."""

    def refuse(*arguments: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(loading, "_from_pretrained", refuse)


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def forget(model: Path | str, out: Path, *more: object) -> tuple[object, ...]:
    return ("forget", "class", model, "--label", 0, "--replace", 1, "--out", out, *more)


@pytest.mark.usefixtures("no_loading")
@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("--label", 12), "label 12 cannot be forgotten: "),
        (("--replace", 10), "label 10 cannot be a replacement: "),
        (("--replace", 0), "label 0 was given as forgotten and as its own replacement"),
        (("--replace", "one"), "'one'"),
        (("--method", "sdf"), "method 'sdf' is unknown: there is"),
        (("--method", "siss"), "method 'siss' does not work for a request"),
        (("--set", "train.stepz=3"), "train.stepz is unknown: there is"),
        (("--set", "train.stepz=3"), "Did you mean train.steps?"),
        (("--set", "train.steps=many"), "train.steps is 'many': "),
        (("--set", "train.steps=1.5"), "train.steps is 1.5: "),
        (("--set", "train.steps=0"), "train.steps is 0: give a number of at least 1"),
        (("--set", "steps=3"), "write SECTION.NAME=VALUE"),
        (("--set", "trian.steps=3"), "section 'trian' with --set is unknown"),
        (("--set", "method.sigma_min=50.0"), "method.sigma_min 50.0"),
        (("--recipe", "missing.toml"), "no recipe at missing.toml"),
        (
            ("--judge", "missing"),
            "missing is no readable (FileNotFoundError) classifier: give",
        ),
        (("--start", "missing"), "missing"),
        (("--null-label", 3), "null label 3 was given, and"),
        (("--resume", "--overwrite"), "both --resume and --overwrite were given"),
    ],
)
def test_wrong_arguments(
    more: tuple[object, ...], sentence: str, fails: Run, tiny_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert sentence in fails(*forget(tiny_model, out, *more))
    assert not out.exists()


@pytest.mark.usefixtures("no_loading")
@pytest.mark.parametrize(
    ("recipe", "sentence"),
    [
        ("[train]\nstepz = 3", "train.stepz is unknown"),
        ("[train\nsteps = 3", "is not readable TOML"),
        ("[trian]\nsteps = 3", "section 'trian' in"),
        ("train = 3", "is not a table: write [train]"),
        ("[method]\nname = 'siss'", "for method 'siss', but 'sfd' was requested"),
    ],
)
def test_wrong_recipes(
    recipe: str, sentence: str, fails: Run, tiny_model: Path, tmp_path: Path
) -> None:
    file, out = tmp_path / "recipe.toml", tmp_path / "out"
    file.write_text(recipe)
    assert sentence in fails(*forget(tiny_model, out, "--recipe", file, "--method", "sfd"))
    assert not out.exists()


def weights_of(model: Path) -> Path:
    return model / "unet" / "diffusion_pytorch_model.safetensors"


def truncate(model: Path) -> None:
    file = weights_of(model)
    file.write_bytes(file.read_bytes()[:-100])


def to_pickle(model: Path) -> None:
    weights_of(model).unlink()
    torch.save({}, model / "unet" / "diffusion_pytorch_model.bin")


def change_scheduler(model: Path) -> None:
    index = json.loads((model / "model_index.json").read_text())
    index["scheduler"] = ["diffusers", "FlowMatchEulerDiscreteScheduler"]
    (model / "model_index.json").write_text(json.dumps(index))


@pytest.mark.usefixtures("no_loading")
@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda m: weights_of(m).unlink(), "holds no weights: a .safetensors file is needed"),
        (truncate, "is truncated or no safetensors file"),
        (lambda m: weights_of(m).write_bytes(b"junk"), "is truncated or no safetensors file"),
        (to_pickle, "a pickle, which can run code when it is opened"),
        (change_scheduler, "the scheduler FlowMatchEulerDiscreteScheduler is not known"),
        (lambda m: (m / "model_index.json").unlink(), "model_index.json is missing"),
        (lambda m: (m / "model_index.json").write_text("{"), "is not valid JSON"),
        (lambda m: (m / "unet" / "config.json").unlink(), "config.json is missing"),
    ],
)
def test_damaged_models(
    damage: Callable[[Path], None], sentence: str, fails: Run, model: Path, tmp_path: Path
) -> None:
    damage(model)
    out = tmp_path / "out"
    assert sentence in fails(*forget(model, out))
    assert not out.exists()


@pytest.mark.usefixtures("no_loading")
@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"rescale_betas_zero_snr": True}, "ends without signal (zero terminal SNR)"),
        ({"prediction_type": "velocity"}, "gives the prediction type as 'velocity'"),
        ({"timestep_type": "continuous"}, "gives timestep_type as 'continuous'"),
        ({"beta_end": "0.02"}, "gives beta_end as '0.02'"),
    ],
)
@pytest.mark.parametrize("command", ["forget", "preflight", "sample"])
def test_schedules_that_are_not_understood(
    command: str, config: dict[str, object], sentence: str, fails: Run, model: Path, tmp_path: Path
) -> None:
    path, out = model / "scheduler" / "scheduler_config.json", tmp_path / "out"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    given = {"preflight": ("preflight", model), "sample": ("sample", model, "--out", out)}
    assert sentence in " ".join(fails(*given.get(command, forget(model, out))).split())
    assert not out.exists()


@pytest.mark.parametrize(
    ("weight", "value", "sentence"),
    [
        ("conv_in.bias", float("nan"), "unet is broken: its weight conv_in.bias"),
        ("conv_in.weight", 3e38, "model is broken, or was saved with another configuration"),
    ],
)
def test_models_that_are_no_numbers(
    weight: str, value: float, sentence: str, fails: Run, model: Path, tmp_path: Path
) -> None:
    path = model / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    weights[weight].fill_(value)
    save_file(weights, path)
    small = ("--no-evaluate", "--set", "train.guard_every=0", "--set", "train.batch_size=4")
    told = " ".join(fails(*forget(model, tmp_path / "out", *small)).split())
    assert sentence in told and "learning_rate" not in told


@pytest.mark.usefixtures("no_loading")
def test_model_without_classes(
    fails: Run, tiny_unet: Callable[..., Denoiser], tmp_path: Path
) -> None:
    save_pipeline(tiny_unet(conditional=False), tmp_path / "plain")
    out = tmp_path / "out"
    sentence = fails(*forget(tmp_path / "plain", out))
    assert "is not class-conditional, so it has no label to forget" in sentence
    assert not out.exists()


@pytest.mark.usefixtures("no_loading")
@pytest.mark.parametrize("name", ["nowhere", "./no/where", "zoo:nothing", "model.ckpt"])
def test_models_that_do_not_exist(name: str, fails: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert fails(*forget(name, out)).startswith("efface: ")
    assert not out.exists()


@pytest.mark.usefixtures("no_loading")
@pytest.mark.parametrize("flag", [(), ("--resume",), ("--overwrite",)])
def test_folder_that_is_no_run_is_never_touched(
    flag: tuple[str, ...], fails: Run, tiny_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "precious"
    out.mkdir()
    (out / "letter.txt").write_text("dear")
    assert "nothing there was touched" in fails(*forget(tiny_model, out, *flag))
    assert [p.name for p in out.iterdir()] == ["letter.txt"]


@pytest.mark.usefixtures("no_loading")
def test_run_that_exists_is_not_overwritten_unasked(
    fails: Run, tiny_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "record.json").write_text("{}")
    assert "add --resume" in fails(*forget(tiny_model, out))
    assert (out / "record.json").read_text() == "{}"
    assert "is not what efface writes" in fails(*forget(tiny_model, out, "--resume"))


def test_overwrite_keeps_the_old_run_when_the_request_is_wrong(
    fails: Run, tiny_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "record.json").write_text("{}")
    fails(*forget(tiny_model, out, "--overwrite", "--label", 77))
    assert (out / "record.json").read_text() == "{}"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("method.teacher_guidance=2.0", "this model has no null class"),
        ("train.accumulation=3", "cannot be shared equally"),
    ],
)
def test_settings_that_this_model_cannot_take(
    change: str, sentence: str, fails: Run, model: Path, tmp_path: Path
) -> None:
    index = json.loads((model / "model_index.json").read_text())
    (model / "model_index.json").write_text(json.dumps(index | {"null_label": None}))
    shutil.rmtree(model / "judge")  # it knows one label fewer, which would name the null label
    out = tmp_path / "out"
    small = ("--set", "train.batch_size=8", "--set", change)
    assert sentence in fails(*forget(model, out, *small))
    assert not out.exists()


def test_full_disk_at_the_end_is_one_sentence(
    fails: Run, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(loading, "_write", full)
    small = ("--set", "train.steps=1", "--set", "train.batch_size=2")
    sentence = fails(*forget(tiny_model, tmp_path / "out", *small))
    assert "No space left on device" in sentence
    assert "--resume" in sentence
    assert not (tmp_path / "out" / "pipeline").exists()
    assert not (tmp_path / "out" / "pipeline.part").exists()


def test_a_full_gpu_is_one_sentence(
    fails: Run, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(Trainer, "run", full)
    sentence = fails(*forget(tiny_model, tmp_path / "out"))
    assert "memory ran out: lower train.batch_size" in sentence and "--resume" in sentence


def test_a_name_too_long_for_the_disk_is_one_sentence(fails: Run, tmp_path: Path) -> None:
    long = "a" * 300
    for given in (forget("zoo:digits", tmp_path / long), forget(long, tmp_path / "out")):
        sentence = fails(*given)
        assert "too long for a file name" in sentence
        assert long in sentence
    assert not list(tmp_path.iterdir())


def test_the_command_itself_prints_one_line(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "efface", "report", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.strip().count("\n") == 0
    assert result.stderr.startswith(f"efface: {tmp_path / 'record.json'} is missing")
