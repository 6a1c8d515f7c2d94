"""What needs no torch is refused without it: in a process of its own, where importing it fails."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from efface.errors import ConfigError, ModelError, RequestError
from efface.requests import kinds
from efface.requests.classes.request import ForgetClass
from efface.runs.early import check_request, check_run, check_settings
from efface.runs.place import ASIDE
from tests.reporting.full_runs import write_class_run

WITHOUT_TORCH = "import sys; sys.modules['torch'] = None\nfrom efface.cli import main; main()\n"


def given(out: Path, **other: Any) -> dict[str, Any]:
    return {"recipe": None, "changes": (), "resume": False, "overwrite": False} | other


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that forgot labels, as it is recorded."""
    return write_class_run(tmp_path / "run")


def said(*arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("forget", "class", "zoo:digits", "--set", "train.stepz=3"), "train.stepz is unknown"),
        (("forget", "class", "zoo:digits", "--set", "train.steps=-3"), "train.steps is -3"),
        (("forget", "class", "zoo:digits", "--recipe", "nothing"), "no recipe at nothing"),
        (("forget", "class", "nowhere"), "no model at nowhere"),
        (("distil", "zoo:nothing"), "zoo:nothing does not ship"),
        (("sample", "nowhere"), "no model at nowhere"),
    ],
)
def test_words_are_refused_before_torch_is_imported(
    arguments: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    label = ("--label", 0) if arguments[0] == "forget" else ()
    assert sentence in said(*arguments, *label, "--out", tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("command", ["evaluate", "attack", "report", "compare"])
def test_a_folder_without_a_run_is_refused_before_torch_is_imported(
    command: str, tmp_path: Path
) -> None:
    assert "record.json is missing" in said(command, tmp_path)


def test_a_run_that_is_there_is_refused_before_torch_is_imported(run: Path) -> None:
    arguments = ("forget", "class", "zoo:digits", "--label", 0, "--out", run)
    assert "holds a run already" in said(*arguments)


def test_a_resume_with_other_words_or_settings_is_refused(run: Path) -> None:
    record = json.loads((run / "record.json").read_text())
    labels = tuple(record["request"]["labels"])
    same, other = (ForgetClass(labels=own) for own in (labels, tuple(n + 1 for n in labels)))
    train = record["settings"]["train"]
    changes = [f"train.{name}={json.dumps(value)}" for name, value in train.items() if value]
    kept = given(run, resume=True, changes=changes)
    check_request(same, "zoo:digits", run, **kept)
    with pytest.raises(RequestError, match=r"request.labels was \[.*\] and is \["):
        check_request(other, "zoo:digits", run, **kept)
    with pytest.raises(RequestError, match="train.seed was 0 and is 7"):
        check_request(same, "zoo:digits", run, **given(run, resume=True, changes=["train.seed=7"]))


def test_labels_by_name_are_left_to_the_model(run: Path) -> None:
    named = ForgetClass(labels=("zero",))
    check_request(named, "zoo:digits", run, **given(run, resume=True))


def test_a_folder_is_looked_at_after_the_words(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    request = ForgetClass(labels=(0,))
    with pytest.raises(ConfigError, match="train.stepz"):
        check_request(request, "none", tmp_path, **given(tmp_path, changes=["train.stepz=1"]))
    with pytest.raises(ModelError, match="no model at none"):
        check_request(request, "none", tmp_path, **given(tmp_path))
    with pytest.raises(RequestError, match="nothing there was touched"):
        check_request(request, "zoo:digits", tmp_path, **given(tmp_path))


def test_a_recipe_of_several_kinds_is_checked_whole(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("[train]\nsteps = 3\n[images]\nsamples = 0\n")
    with pytest.raises(ConfigError, match="images.samples"):
        check_settings(ForgetClass, recipe, [])
    recipe.write_text("[train]\nsteps = 3\n")
    assert check_settings(ForgetClass, recipe, ["train.steps=4"]) == {"train": {"steps": 4}}


def test_settings_of_an_evaluation_are_checked_for_a_run(run: Path) -> None:
    check_run(run, ["evaluate.seed=3"])
    with pytest.raises(ConfigError, match="evaluate.seeds is unknown"):
        check_run(run, ["evaluate.seeds=3"])


def resumed(run: Path, *changes: str) -> None:
    labels = json.loads((run / "record.json").read_text())["request"]["labels"]
    check_request(
        ForgetClass(labels=tuple(labels)),
        "zoo:digits",
        run,
        **given(run, resume=True, changes=changes),
    )


def record_train(run: Path, **values: object) -> None:
    record = json.loads((run / "record.json").read_text())
    record["settings"]["train"] |= values
    (run / "record.json").write_text(json.dumps(record))


def test_what_may_change_when_a_run_goes_on_is_not_refused(run: Path) -> None:
    record_train(run, log_every=10, checkpoint_every=0, steps=200)
    record_train(run, learning_rate_schedule="constant")
    resumed(run, "train.log_every=5", "train.checkpoint_every=7", "train.steps=500")
    with pytest.raises(RequestError, match="train.steps was 200 and is 100"):
        resumed(run, "train.steps=100")
    record_train(run, learning_rate_schedule="cosine")
    with pytest.raises(RequestError, match="train.steps was 200 and is 500"):
        resumed(run, "train.steps=500")


def test_a_run_that_is_put_aside_is_left_to_what_brings_it_back(run: Path) -> None:
    (run / ASIDE).mkdir()
    (run / "record.json").rename(run / ASIDE / "record.json")
    check_request(ForgetClass(labels=(0,)), "zoo:digits", run, **given(run, resume=True))


def test_settings_that_need_one_another_are_left_to_where_all_are_known(run: Path) -> None:
    check_run(run, ['evaluate.detector_labels=["cat"]'])  # the detector may be recorded
    check_settings(kinds()["concept"], None, ["train.lora_alpha=4"])  # and the rank in a recipe
    with pytest.raises(ConfigError, match="train.lora_alpha is -4"):
        check_settings(kinds()["concept"], None, ["train.lora_alpha=-4"])
