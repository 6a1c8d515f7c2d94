"""A LoRA against the pipeline that was delivered, by the images of stock diffusers."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from efface.cli import app
from efface.evidence.lora import check_lora
from efface.evidence.pack import pack
from efface.records import read_record, write_json
from efface.runs.forget import forget
from tests.tiny import BAG, SMALL

Pipelines = Callable[[str], Path]
CHANGES = [*SMALL, "train.lora_rank=3", "train.learning_rate=0.03", "train.ema_decay=0.0"]
FILES = ["kohya.safetensors", "pytorch_lora_weights.safetensors"]


@pytest.fixture(scope="module")
def made(pipelines: Pipelines, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "sd"
    return forget(pipelines("sd"), BAG, out, changes=CHANGES)


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


def found(run: Path, lora: Path | None = None) -> list[tuple[str, str, str]]:
    checks = check_lora(read_record(run), run / "pipeline", lora or run / "lora")
    marks = ["bad" if not c.good else "ok" if c.looked else "unknown" for c in checks]
    return [(c.subject, mark, c.text) for c, mark in zip(checks, marks, strict=True)]


def test_what_a_run_wrote_draws_the_images_of_its_pipeline(run: Path) -> None:
    checks = found(run)
    assert [(name, mark) for name, mark, _ in checks] == [(name, "ok") for name in FILES]
    ((name, mark, text),) = found(run, run / "lora" / FILES[0])
    assert (name, mark) == (FILES[0], "ok") and "without it" in text


def test_verify_looks_at_it_on_request(made: Path, tmp_path: Path) -> None:
    pack([made], tmp_path / "a.zip")
    asked = ["verify", tmp_path / "a.zip", "--model", made / "pipeline", "--metric", "none"]

    def said(*more: object) -> list[str]:
        done = CliRunner().invoke(app, [str(part) for part in (*asked, *more)])
        assert done.exit_code == 0, done.output
        return done.output.splitlines()

    assert not any(name in line for line in said() for name in FILES)
    lines = [line for line in said("--lora", made / "lora") if "safetensors: draws" in line]
    assert [line[:3] for line in lines] == ["ok ", "ok "]


def test_a_lora_of_other_names_has_no_effect(run: Path) -> None:
    """As a loader that understands none of its names would leave it."""
    file = run / "lora" / FILES[0]
    save_file({name: tensor * 0 for name, tensor in load_file(file).items()}, file)
    (_, mark, text), (_, other, _) = found(run)
    assert (mark, other) == ("bad", "ok") and "it has no effect" in text


def test_a_lora_of_another_change_is_told(run: Path) -> None:
    file = run / "lora" / FILES[1]
    save_file({name: -tensor for name, tensor in load_file(file).items() if "lora_A" in name} | {
        name: tensor for name, tensor in load_file(file).items() if "lora_B" in name
    }, file)  # fmt: skip
    (_, mark, _), (_, other, text) = found(run)
    assert (mark, other) == ("ok", "bad") and "differ by" in text


@pytest.mark.parametrize("content", [b"", b"x" * 99, None])
def test_what_cannot_be_loaded_is_a_finding(run: Path, content: bytes | None) -> None:
    file = run / "lora" / FILES[0]
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    ((_, mark, _),) = found(run, file)
    assert mark == "bad"


def test_nothing_is_said_without_the_original_model_or_a_change(run: Path) -> None:
    record = read_record(run)
    away = record.model | {"source": str(run / "nowhere")}
    write_json(run / "record.json", record.model_copy(update={"model": away}))
    assert {mark for _, mark, _ in found(run)} == {"unknown"}
    write_json(run / "record.json", record)
    base = Path(record.model["source"])
    shutil.copytree(base / "unet", run / "pipeline" / "unet", dirs_exist_ok=True)
    file = run / "lora" / FILES[0]
    save_file({name: tensor * 0 for name, tensor in load_file(file).items()}, file)
    ((_, mark, text),) = found(run, file)
    assert mark == "unknown" and "differ by" in text
