"""The run folder: what may be used, and what comes back."""

from __future__ import annotations

import importlib.metadata
import socket
import time
from pathlib import Path

import pytest
from accelerate import Accelerator, PartialState, debug_launcher

from efface.errors import RequestError
from efface.records import read_record
from efface.runs.folder import check_folder, environment, holds_run, new_folder, new_record
from efface.settings.base import read_settings


@pytest.fixture
def record():
    settings = read_settings("class", None).to_json()
    return new_record(None, {"kind": "class", "labels": [0]}, "SFD", settings)


def test_a_folder_that_is_no_run_is_never_touched(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(RequestError, match="nothing there was touched"):
            holds_run(tmp_path, False, overwrite)
    assert not holds_run(tmp_path / "new", False, False)
    with pytest.raises(RequestError, match="--resume"):
        holds_run(tmp_path / "new", True, True)


def test_a_run_goes_on_only_as_it_was(tmp_path: Path, record):
    out = tmp_path / "run"
    with new_folder(out, record, False, Accelerator()):
        assert read_record(out).request == record.request
    assert not check_folder(out, record, True, False)  # there, and not finished
    other = record.model_copy(update={"request": {"kind": "class", "labels": [1]}})
    with pytest.raises(RequestError, match="another request"):
        check_folder(out, other, True, False)
    train = record.settings | {"train": record.settings["train"] | {"log_every": 77}}
    assert not check_folder(out, record.model_copy(update={"settings": train}), True, False)


def test_a_run_that_is_replaced_comes_back_where_the_new_one_cannot_begin(tmp_path: Path, record):
    out = tmp_path / "run"
    with new_folder(out, record, False, Accelerator()):
        (out / "kept.txt").write_text("before")
    with pytest.raises(ValueError, match="cannot"), new_folder(out, record, False, Accelerator()):
        assert not (out / "kept.txt").exists()
        raise ValueError("it cannot begin")
    assert (out / "kept.txt").read_text() == "before"
    with new_folder(out, record, False, Accelerator()):
        pass
    assert not (out / "kept.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_new_folder_goes_unless_something_was_prepared(tmp_path: Path, record):
    for prepared in (False, True):
        out = tmp_path / f"run-{prepared}"
        with pytest.raises(KeyError), new_folder(out, record, False, Accelerator()):
            if prepared:
                (out / "preparation").mkdir()
            raise KeyError
        assert out.exists() == prepared


def test_the_environment_is_all_that_is_installed(record):
    for name in ("torch", "diffusers", "safetensors", "huggingface-hub"):
        assert record.environment[name] == importlib.metadata.version(name)
    installed = list(record.environment)[3:]
    assert installed == sorted(installed)
    assert record.environment == environment()


def test_a_record_holds_no_path_and_no_host(record):
    text = record.model_dump_json(include={"environment", "versions", "hardware"})
    assert "/" not in text
    assert str(Path.home()) not in text
    assert f'"{socket.gethostname()}"' not in text


def begin_in_two_processes(out: Path, overwrite: bool) -> None:
    """The second looks at the folder late; the first must not have begun to write by then."""
    PartialState._reset_state()  # or that of the parent, with one process, would be taken over
    accelerator = Accelerator(cpu=True)
    settings = read_settings("class", None).to_json()
    record = new_record(None, {"kind": "class"}, "SFD", settings)
    if not accelerator.is_main_process:
        time.sleep(2)
    assert not check_folder(out, record, False, overwrite)
    with new_folder(out, record, False, accelerator):
        if accelerator.is_main_process:
            time.sleep(2)  # the second is ready first, and leaves what may have to come back
            assert out.with_name(".run.replaced").exists() == overwrite
    accelerator.wait_for_everyone()


@pytest.mark.parametrize("overwrite", [False, True])
def test_every_process_has_looked_before_one_writes(tmp_path: Path, record, overwrite: bool):
    out = tmp_path / "run"
    if overwrite:
        with new_folder(out, record, False, Accelerator()):
            pass
    debug_launcher(begin_in_two_processes, (out, overwrite), 2)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
