"""The page of a run about prompts: what became of a concept or of a memorised image, named."""

from __future__ import annotations

from pathlib import Path

import pytest

from efface.records import Evaluation, RunRecord
from efface.reporting import judge_run, write_report
from efface.reporting.run_folder import read_run
from tests.reporting.pages import Page, assert_safe
from tests.reporting.prompt_runs import (
    make_concept_evaluation,
    make_concept_record,
    make_memorised_evaluation,
    make_memorised_record,
    write_prompt_run,
)

CHANGE = {"weights": 0.0, "samples": 0.0, "retained_distance": 0.61}
RUNS = {
    "concept": (make_concept_record, make_concept_evaluation),
    "memorised": (make_memorised_record, make_memorised_evaluation),
}


def page_of(folder: Path, record: RunRecord, evaluation: Evaluation) -> Page:
    run = write_prompt_run(folder, record, evaluation)
    page = Page(write_report([run], folder / "report.html"))
    assert_safe(page)
    return page


@pytest.mark.parametrize("kind", RUNS)
def test_no_effect_is_the_headline_and_leads_to_how_that_was_measured(tmp_path: Path, kind: str):
    make, measure = RUNS[kind]
    evaluation = measure(change=CHANGE, change_protocol="samples of 64 seeds")
    evaluation.results[0] = evaluation.results[0].model_copy(
        update=evaluation.results[0].baseline.model_dump()
    )
    page = page_of(tmp_path / "run", make(), evaluation)
    assert page.headline.startswith("No effect: ") and "broken" not in page.text
    assert page.headline.strip() == judge_run(make(), evaluation).headline
    assert [a["href"] for a in page.all("a")].count("#run-1-how-change") == 1
    facts = page.facts("run-1-how-change")
    assert facts["weights"] == "0\u00a0%"
    assert facts["protocol"] == "samples of 64 seeds"
    assert "#run-1-facts-weights" in {a["href"] for a in page.all("a")}


def test_a_network_that_says_no_numbers_leads_to_how_that_was_seen(tmp_path: Path):
    evaluation = Evaluation(results=[], broken=True, change_protocol="at three timesteps")
    page = page_of(tmp_path / "run", make_concept_record(), evaluation)
    assert page.headline.startswith("The model is broken")
    assert page.facts("run-1-how-change")["protocol"] == "at three timesteps"
    assert "#run-1-how-change" in {a["href"] for a in page.all("a")}


def test_a_changed_model_has_no_such_line(tmp_path: Path):
    page = page_of(tmp_path / "run", make_concept_record(), make_concept_evaluation())
    assert "No effect" not in page.text and "broken" not in page.text
    assert "is forgotten" in page.headline and "a leather bag" in page.headline
    assert "A detector decided what the samples show: things, bag above 0.5." in page.text
    assert "#run-1-how-change" not in {a["href"] for a in page.all("a")}


def test_prompts_name_the_rows_of_the_sheets(tmp_path: Path):
    run = write_prompt_run(
        tmp_path / "run", make_memorised_record(), make_memorised_evaluation(), ["a man", "a cat"]
    )
    assert list(read_run(run).names.values())[:3] == ["a man", "a cat", "2"]
    page = Page(write_report([run], tmp_path / "report.html"))
    assert "Each row is conditioned on one prompt" in page.text
