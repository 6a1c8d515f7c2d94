"""The page of a run about prompts: what became of a concept or of a memorised image, named."""

from __future__ import annotations

from pathlib import Path

import pytest

from efface.records import Evaluation, RunRecord
from efface.reporting import judge_run, write_report
from efface.reporting.protocols import GUARDS
from efface.reporting.run_folder import read_run
from tests.reporting.pages import Page, assert_safe
from tests.reporting.prompt_runs import (
    make_concept_evaluation,
    make_concept_record,
    make_memorised_evaluation,
    make_memorised_record,
    write_prompt_run,
)

SAID = {
    "no-op": ("No effect: ", "no_effect"),
    "collapse": ("The model is broken", "broken"),
}
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
@pytest.mark.parametrize("guard", SAID)
@pytest.mark.parametrize("measured", [True, False])
def test_a_guard_that_spoke_is_the_headline(tmp_path: Path, kind: str, guard: str, measured: bool):
    make, measure = RUNS[kind]
    evaluation = measure(guards=[guard], change=CHANGE)
    if not measured:
        evaluation = Evaluation(results=[], guards=[guard], change=CHANGE)
    page = page_of(tmp_path / "run", make(), evaluation)
    headline, outcome = SAID[guard]
    verdict = judge_run(make(), evaluation)
    assert verdict.outcome == outcome and verdict.headline.startswith(headline)
    assert page.headline.strip() == verdict.headline
    assert page.facts("run-1-how-change")["guards"] == GUARDS[guard]
    other = SAID["collapse" if guard == "no-op" else "no-op"][0]
    assert other not in page.text and other.lower() not in page.headline.lower()


@pytest.mark.parametrize("guard", SAID)
def test_what_a_guard_said_leads_to_its_protocol_seeds_and_hashes(tmp_path: Path, guard: str):
    evaluation = Evaluation(results=[], guards=[guard], change=CHANGE)
    page = page_of(tmp_path / "run", make_concept_record(), evaluation)
    assert [a["href"] for a in page.all("a")].count("#run-1-how-change") == 2  # card and line
    facts = page.facts("run-1-how-change")
    assert facts["weights changed by"] == "0\u00a0%"
    assert facts["seeds"].startswith("6000000 to 6000063")
    assert "both models sampled as the result is" in facts["protocol"]
    assert "#run-1-facts-weights" in {a["href"] for a in page.all("a")}


def test_a_network_that_says_no_numbers_leads_to_how_that_was_seen(tmp_path: Path):
    page = page_of(
        tmp_path / "run", make_concept_record(), Evaluation(results=[], guards=["collapse"])
    )
    assert "no finite numbers" in page.facts("run-1-how-change")["protocol"]
    assert "#run-1-how-change" in {a["href"] for a in page.all("a")}


def test_without_guards_a_concept_is_gone_and_no_guard_is_named(tmp_path: Path):
    page = page_of(tmp_path / "run", make_concept_record(), make_concept_evaluation())
    assert "No effect" not in page.text and "broken" not in page.text
    assert "is gone" in page.headline and "a leather bag" in page.headline
    assert "A detector looked for it in the samples: things, bag above 0.5." in page.text
    assert "#run-1-how-change" not in {a["href"] for a in page.all("a")}


def test_prompts_name_the_rows_of_the_sheets(tmp_path: Path):
    run = write_prompt_run(
        tmp_path / "run", make_memorised_record(), make_memorised_evaluation(), ["a man", "a cat"]
    )
    assert list(read_run(run).names.values())[:3] == ["a man", "a cat", "2"]
    page = Page(write_report([run], tmp_path / "report.html"))
    assert "Each row is conditioned on one prompt" in page.text
