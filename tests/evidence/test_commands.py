"""What the commands on evidence refuse, keep and say, from a shell."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

import efface
from efface.cli import app
from efface.errors import ConfigError, DataError, EffaceError, RequestError
from efface.evidence.model_card import write_model_card
from efface.evidence.pack import pack
from efface.evidence.verify import verify
from efface.records import read_evaluation
from efface.reporting import write_report
from efface.runs.attack import attack

Run = Callable[..., str]


@pytest.fixture
def run(label_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(label_run, tmp_path / "run"))


def alter(run: Path, name: str, change: Callable[[dict], object]) -> None:
    content = json.loads((run / name).read_text())
    change(content)
    (run / name).write_text(json.dumps(content))


def test_a_file_that_is_no_report_is_not_replaced(run: Path, tmp_path: Path, fails: Run) -> None:
    notes = tmp_path / "notes.html"
    notes.write_text("my notes")
    assert "is no report of efface" in fails("report", run, "--out", notes)
    assert notes.read_text() == "my notes"
    with pytest.raises(RequestError, match="cannot be written"):
        write_report([run], tmp_path)
    page = write_report([run], tmp_path / "page.html")
    assert write_report([run], page) == page  # a report may be
    (run / "report.html").write_text("of an earlier version")
    write_report([run], run / "report.html")


def test_nothing_is_written_where_the_pack_is_refused(
    run: Path, tmp_path: Path, fails: Run
) -> None:
    there = tmp_path / "evidence.zip"
    there.write_bytes(b"something")
    (run / "report.html").unlink()
    card = (run / "pipeline" / "README.md").read_bytes()
    said = fails("report", run, "--pack", there, "--wording", "a thing")
    assert "exists: nothing there was touched" in said
    assert not (run / "report.html").exists() and there.read_bytes() == b"something"
    assert (run / "pipeline" / "README.md").read_bytes() == card


def test_a_page_of_another_version_is_not_called_right(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.0.9")
    pack([run], tmp_path / "evidence.zip")
    monkeypatch.undo()
    found = verify(tmp_path / "evidence.zip", run / "pipeline", "none")
    page = next(check for check in found.checks if check.subject == "report.html")
    assert found.good and not page.looked and "not checked against the records" in page.text
    told = CliRunner().invoke(
        app,
        ["verify", str(tmp_path / "evidence.zip"), "--model", str(run / "pipeline")]
        + ["--metric", "none"],
    )
    assert "--   report.html: not checked" in told.output and "ok   model" in told.output
    assert "--   figures: none was measured again" in told.output


def test_a_damaged_record_is_named_once_and_not_called_missing(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "evidence.zip"
    pack([run], path)
    content = bytearray(path.read_bytes())
    content[content.index(b'"results"')] ^= 1
    path.write_bytes(bytes(content))
    found = verify(path, run / "pipeline", "none")
    assert {c.subject for c in found.differences} == {"run-1", "run-1/evaluation.json"}
    assert not any("missing" in check.text for check in found.differences)


def test_missing_images_are_said(run: Path) -> None:
    shutil.rmtree(run / "samples")
    page = write_report([run], run / "report.html").read_text(encoding="utf-8")
    assert "are not in the run folder" in page
    efface.evaluate(run)
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "are not in the run folder" not in page


def test_a_retrained_model_stays_beside_a_run(run: Path, tiny_model: Path) -> None:
    assert efface.evaluate(run).retrained is None
    beside = efface.evaluate(run, retrained=tiny_model)
    again = efface.evaluate(run, changes=["evaluate.forget_samples=20"])
    for evaluation in (beside, again):
        assert evaluation.retrained == str(tiny_model)
        assert evaluation.results[0].retrained is not None
    assert read_evaluation(run) == again != beside
    alter(run, "evaluation.json", lambda e: e.update(retrained=str(run / "nothing")))
    with pytest.raises(RequestError, match="'none' to measure without one"):
        efface.evaluate(run)
    assert efface.evaluate(run, retrained="none").results[0].retrained is None
    assert efface.evaluate(run).retrained is None


def test_settings_without_effect_are_refused(run: Path, image_run: Path) -> None:
    with pytest.raises(ConfigError, match="train.steps has no effect"):
        efface.evaluate(run, changes=["train.steps=4"])
    with pytest.raises(RequestError, match="labels"):
        attack(image_run, judge=image_run)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda r: r["request"].update(later=1), "the request in record.json"),
        (lambda r: r["request"].pop("images"), r"request.images is missing"),
        (lambda r: r["settings"]["evaluate"].update(later=1), "the settings in record.json"),
    ],
)
def test_records_of_another_version_are_refused_in_a_sentence(
    image_run: Path, tmp_path: Path, change: Callable[[dict], object], complaint: str
) -> None:
    run = Path(shutil.copytree(image_run, tmp_path / "run"))
    alter(run, "record.json", change)
    for command in (efface.evaluate, attack):
        with pytest.raises(EffaceError, match=complaint) as error:
            command(run)
        assert "version" in str(error.value)


def test_attacks_of_another_version_are_to_be_moved_away(run: Path) -> None:
    (run / "attacks.json").write_text('{"schema": 2}')
    with pytest.raises(DataError, match="move it away"):
        attack(run, ["noise_search"])
    assert (run / "attacks.json").read_text() == '{"schema": 2}'


def test_models_that_ship_carry_their_licence(tmp_path: Path) -> None:
    request = efface.ForgetClass(labels=(3,))
    small = ["train.steps=1", "train.batch_size=4", "train.guard_every=0"]
    run = efface.forget("zoo:digits", request, tmp_path / "run", changes=small, measure=False)
    (run / "evaluation.json").write_text('{"schema": 1, "results": []}')

    card = write_model_card(run).read_text(encoding="utf-8")
    assert "license: apache-2.0" in card
