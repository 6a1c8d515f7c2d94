"""The run folder: what may be used, and what comes back."""

from __future__ import annotations

import contextlib
import importlib.metadata
import itertools
import os
import re
import shutil
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from accelerate import Accelerator, PartialState, debug_launcher

from efface.errors import EffaceError, RequestError, Stopped
from efface.records import RunRecord, read_record, write_json
from efface.requests.classes.settings import ClassSettings
from efface.runs.folder import (
    check_folder,
    environment,
    new_folder,
    new_record,
    recover,
    resumable,
)
from efface.runs.lock import locked
from efface.runs.place import holds_run
from efface.settings.base import read_settings


@pytest.fixture(scope="module")
def record():
    settings = read_settings("class", ClassSettings, changes=["train.steps=1000"]).to_json()
    return new_record(None, {"kind": "class", "labels": [0]}, "SFD", settings)


def test_a_run_goes_on_only_as_it_was(tmp_path: Path, record):
    out = tmp_path / "run"
    with new_folder(out, record, False, Accelerator()):
        assert read_record(out).request == record.request
    assert not check_folder(out, record, True, False)  # there, and not finished
    other = changed(record, "request", labels=[1])
    with pytest.raises(RequestError, match=r"request\.labels was \[0\] and is \[1\]"):
        check_folder(out, other, True, False)
    for name, value in (("log_every", 77), ("checkpoint_every", 3), ("ignore_memory", True)):
        assert not check_folder(
            out, changed(record, "settings.train", **{name: value}), True, False
        )


def changed(record: RunRecord, section: str, **values: object) -> RunRecord:
    """A record with other entries in a section, as "settings.train"."""
    name, _, inner = section.partition(".")
    before = getattr(record, name) or {}
    after = before | ({inner: before[inner] | values} if inner else values)
    return record.model_copy(update={name: after})


@pytest.mark.parametrize(
    ("section", "values", "sentence"),
    [
        ("settings.train", {"seed": 5}, "train.seed was 0 and is 5"),
        ("settings.train", {"steps": 9}, "train.steps was 1000 and is 9"),
        ("settings.train", {"clip_norm": 1.0}, "train.clip_norm was null and is 1.0"),
        ("settings.train", {"new": True}, "train.new was left out and is true"),
        ("settings.train", {"seed": 1, "beta1": 0.5}, "was 0 and is 1; train.beta1 was "),
        ("settings.method", {"name": "siss"}, 'method.name was "sfd" and is "siss"'),
        ("settings.evaluate", {"dtype": "x" * 99}, f'"{"x" * 59}.... Resume it'),
        ("request", {"kind": "concept"}, 'request.kind was "class" and is "concept"'),
        ("request", {"labels": [0, 1]}, "request.labels was [0] and is [0, 1]"),
        ("model", {"source": "./m"}, 'model.source was null and is "./m"'),
        ("model", {"weights": {"unet/a": "0" * 64}}, "model.weights.unet/a was left out and is"),
        ("material", {"digest": "f"}, "material.digest was left out and is"),
        ("material", {f"n{i}": i for i in range(9)}, "; 4 more differ. Resume"),
        ("start", {"request": {"kind": "distil"}}, "start.request.kind was left out and is"),
    ],
)
def test_what_differs_is_named_with_its_old_and_its_new_value(
    tmp_path: Path, record, section: str, values: dict[str, object], sentence: str
) -> None:
    with new_folder(tmp_path, record, False, Accelerator()):
        pass
    with pytest.raises(RequestError, match=re.escape(sentence)):
        check_folder(tmp_path, changed(record, section, **values), True, False)


@pytest.mark.parametrize(
    ("status", "steps", "schedule", "answer"),
    [
        ("finished", 1000, "constant", True),
        ("finished", 1001, "constant", False),
        ("running", 2000, "constant", False),
        ("finished", 999, "constant", "train.steps was 1000 and is 999"),
        ("finished", 2000, "cosine", "train.steps was 1000 and is 2000"),
        ("collapsed", 1000, "constant", True),
        ("collapsed", 2000, "constant", "ended by itself before its last step"),
        ("stopped", 2000, "constant", "ended by itself before its last step"),
    ],
)
def test_a_run_may_make_more_steps_than_it_was_to(
    tmp_path: Path, record, status: str, steps: int, schedule: str, answer: bool | str
) -> None:
    stopped = {"status": "finished", "stopped": "enough"} if status == "stopped" else {}
    before = changed(record, "settings.train", learning_rate_schedule=schedule)
    before = before.model_copy(update={"status": status} | stopped)
    with new_folder(tmp_path, before, False, Accelerator()):
        pass
    now = changed(record, "settings.train", learning_rate_schedule=schedule, steps=steps)
    if isinstance(answer, bool):
        assert check_folder(tmp_path, now, True, False) == answer
        return
    with pytest.raises(RequestError, match=answer):
        check_folder(tmp_path, now, True, False)


@pytest.mark.parametrize(
    "damage",
    [
        {"settings": {}},
        {"settings": {"train": None}},
        {"settings": {"train": [1]}},
        {"settings": {"train": {"steps": "many"}}},
        {"settings": {"train": {"steps": True}}},
        {"settings": {"train": {"steps": 1e308}}},
        {"settings": {"train": {"steps": float("nan")}}},
        {"model": {"source": 3}},
        {"model": {"weights": "none"}},
        {"request": {}},
        {"request": {"labels": {"a": {"b": 1}}}},
        {"material": {"names": ["\x1b[31m"] * 1000}},
        {"start": {"output": 1}},
    ],
)
def test_a_record_of_any_shape_is_another_run(tmp_path: Path, record, damage) -> None:
    with new_folder(tmp_path, record.model_copy(update=damage), False, Accelerator()):
        pass
    other = "holds another run: |record.json is not what efface writes"
    with pytest.raises(EffaceError, match=other) as error:
        check_folder(tmp_path, record, True, False)
    assert str(error.value).isprintable()


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
    assert [path.name for path in out.iterdir()] == ["record.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_new_folder_goes_unless_something_was_prepared(tmp_path: Path, record):
    for prepared in (False, True):
        out = tmp_path / f"run-{prepared}"
        begun = new_folder(out, record, False, Accelerator())
        with pytest.raises(KeyError), locked(out), begun:
            if prepared:
                (out / "preparation").mkdir()
            raise KeyError
        assert out.exists() == prepared


@pytest.mark.parametrize("content", [(), (".lock",), ("lost+found/",), (".lock", "lost+found/")])
@pytest.mark.parametrize("linked", [False, True])
def test_an_empty_folder_is_taken_and_stays_after_a_failure(
    tmp_path: Path, record, content: tuple[str, ...], linked: bool
):
    folder, out = tmp_path / "disk", tmp_path / "disk"
    folder.mkdir()
    if linked:
        out = tmp_path / "link"
        out.symlink_to(folder)
    for name in content:
        (folder / name).mkdir() if name.endswith("/") else (folder / name).touch()
    before = folder.stat().st_ino
    for fails in (True, False):
        assert not holds_run(out, False, False)
        with contextlib.suppress(KeyError), locked(out):
            assert not check_folder(out, record, False, False)
            with new_folder(out, record, False, Accelerator()):
                if fails:
                    raise KeyError
        assert (out / "record.json").exists() != fails
    assert folder.stat().st_ino == before and out.is_symlink() == linked
    assert (folder / "lost+found").exists() == ("lost+found/" in content)


def state(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@pytest.mark.parametrize("linked", [False, True])
def test_whenever_replacing_a_run_is_killed_there_is_a_whole_one(
    tmp_path: Path, record, monkeypatch: pytest.MonkeyPatch, linked: bool
):
    """After every single move, making and removing of files."""
    new = changed(record, "request", labels=[7])
    target = tmp_path / "target"
    out = tmp_path / "link" if linked else target
    if linked:
        out.symlink_to(target)
    for moment in itertools.count():
        shutil.rmtree(target, ignore_errors=True)
        (target / "checkpoints" / "step_00000001").mkdir(parents=True)
        (target / "checkpoints" / "step_00000001" / "state.json").write_text("old")
        write_json(target / "record.json", record)
        before = state(target)
        left = moment

        def killed() -> bool:
            nonlocal left
            left -= 1
            return left < 0

        whole = replace_killed(out, new, killed, monkeypatch)
        if whole:
            break
        for attempt in (False, True):  # a second look finds the same
            check_folder(out, record if holds(out, record) else new, True, False)
            if holds(out, record):
                assert state(target) == before, (moment, attempt)
    assert moment > 5
    assert holds(out, new)


def holds(out: Path, record: RunRecord) -> bool:
    recover(out)
    return read_record(out).request == record.request


def replace_killed(
    out: Path, new: RunRecord, killed: Callable[[], bool], monkeypatch: pytest.MonkeyPatch
) -> bool:
    """Whether a run was replaced without being killed."""

    class Killed(BaseException):
        pass

    def watched(method: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **named: object) -> object:
            if killed():
                raise Killed
            return method(*arguments, **named)

        return call

    with monkeypatch.context() as patch:
        for owner, name in ((Path, "rename"), (Path, "mkdir"), (os, "replace"), (shutil, "rmtree")):
            patch.setattr(owner, name, watched(getattr(owner, name)))
        # A dead process cleans nothing up.
        patch.setattr("efface.runs.folder.recover", lambda out: None)
        patch.setattr(Path, "unlink", lambda *arguments, **named: None)
        try:
            with new_folder(out, new, False, Accelerator()):
                if killed():
                    raise Killed
        except Killed:
            return False
    return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_stops_a_run_that_has_begun_is_told_how_it_goes_on(
    tmp_path: Path, record, number: signal.Signals
):
    def stop() -> None:
        raise KeyboardInterrupt if number == signal.SIGINT else Stopped("", number)

    with pytest.raises(KeyboardInterrupt) as silent, resumable(tmp_path):
        stop()
    assert not str(silent.value)  # there is nothing to go on with
    write_json(tmp_path / "record.json", record)
    with pytest.raises(Stopped, match="stopped; add --resume") as told, resumable(tmp_path):
        stop()
    assert told.value.signal == number
    with pytest.raises(Stopped, match="at step 3"), resumable(tmp_path):
        raise Stopped("stopped at step 3", number)


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
    settings = read_settings("class", ClassSettings).to_json()
    record = new_record(None, {"kind": "class"}, "SFD", settings)
    if not accelerator.is_main_process:
        time.sleep(0.5)
    assert not check_folder(out, record, False, overwrite)
    with new_folder(out, record, False, accelerator):
        if accelerator.is_main_process:
            time.sleep(0.5)  # the second is ready first, and leaves what may have to come back
            assert (out / ".replaced").exists() == overwrite
    accelerator.wait_for_everyone()


@pytest.mark.parametrize("overwrite", [False, True])
def test_every_process_has_looked_before_one_writes(tmp_path: Path, record, overwrite: bool):
    out = tmp_path / "run"
    if overwrite:
        with new_folder(out, record, False, Accelerator()):
            pass
    debug_launcher(begin_in_two_processes, (out, overwrite), 2)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
