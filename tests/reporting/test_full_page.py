"""The page with all that an evaluation and attacks can hold: whole, linked and safe."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from efface.errors import DataError
from efface.records import Attacks, write_json
from efface.reporting import write_report
from tests.reporting.conftest import RunMaker, make_record
from tests.reporting.full_runs import make_attack, make_attacks, make_curve, make_full_evaluation
from tests.reporting.image_runs import make_image_evaluation, make_image_record, write_image_run
from tests.reporting.pages import HOSTILE, Page, assert_safe

FAILED = make_attack("noise_search", None, None, passed=False)


@pytest.fixture
def report(tmp_path: Path) -> Callable[..., Page]:
    return lambda *runs: Page(write_report(runs, tmp_path / "report.html"))


@pytest.fixture
def make_full_run(make_run: RunMaker) -> Callable[..., Path]:
    def make(name: str = "run", attacks: Attacks | None = None, **changes) -> Path:
        evaluation = changes.pop("evaluation", None) or make_full_evaluation()
        run = make_run(name, evaluation=evaluation, **changes)
        attacks = attacks or make_attacks(make_attack(), make_attack("membership"), FAILED)
        write_json(run / "attacks.json", attacks)
        return run

    return make


def test_all_parts_are_there_and_every_link_leads_somewhere(make_full_run, report):
    page = report(make_full_run())
    assert_safe(page)
    for said in (
        "How often it is found, by threshold", "What is generated for each label",
        "Does it come back?", "Relearning", "Membership",
        "50\u00a0% back", "in 40 training steps (retrained model: 45)",
        "Cost in training steps", "control passed",
        "weights by hand", "ab" * 32,
    ):  # fmt: skip
        assert said in page.text, said


def test_every_figure_leads_to_its_protocol_and_its_seeds(make_full_run, report, tmp_path: Path):
    page = report(make_full_run())
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    links = {a["href"] for a in page.all("a")}
    count = len(make_full_evaluation().results)
    wanted = {f"#run-1-how-{n}" for n in range(count)} | {
        "#run-1-how-curve-0", "#run-1-how-labels", "#run-1-how-samples", "#run-1-attacks",
        *(f"#run-1-how-attack-{n}" for n in range(3)),
    }  # fmt: skip
    assert wanted <= links
    for link in wanted - {"#run-1-attacks", "#run-1-how-labels", "#run-1-how-samples"}:
        entry = text[text.index(f'id="{link[1:]}"') :]
        entry = entry[: entry.index("</dl>")]
        assert "protocol" in entry
        assert "seeds" in entry or "curve" in link


def test_an_attack_that_failed_a_control_is_named_and_explained(make_full_run, report):
    page = report(make_full_run(attacks=make_attacks(FAILED)))
    assert (
        "Inconclusive: the attack failed its positive control on a knowingly weak erasure"
        in page.text
    )
    assert "control failed" in page.text and "every attack failed" in page.text


def test_attacks_on_other_weights_are_left_out_and_said_so(make_full_run, report):
    attacks = make_attacks(make_attack(), output={"a": "b"})
    page = report(make_full_run(attacks=attacks))
    assert_safe(page)
    assert "on other weights than this run's" in page.text
    assert "brings half" not in page.text and "50\u00a0% back" not in page.text


def test_what_was_attacked_no_longer_says_that_no_attack_was_run(make_full_run, report):
    text = report(make_full_run()).text
    assert "No attack was run" not in text
    assert "with the budgets that they were given" in text


def test_unreadable_attacks_are_refused(make_full_run, report):
    run = make_full_run()
    (run / "attacks.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match="efface attack"):
        report(run)


@pytest.mark.parametrize("evil", HOSTILE)
def test_hostile_text_in_attacks_and_curves_comes_out_as_text(make_full_run, report, evil: str):
    attack = make_attack(
        evil, settings={evil: [evil, {evil: evil}]}, notes=[evil],
        self_tests=[{"subject": evil, "passed": False, "text": evil}],
    )  # fmt: skip
    attack.curve = make_curve(evil).model_copy(
        update={"x_label": evil, "y_label": evil, "protocol": evil}
    )
    attack.curve.lines[evil] = attack.curve.lines.pop("retrained")
    attack.costs[evil] = attack.costs.pop("retrained")
    evaluation = make_full_evaluation()
    evaluation.curves = [attack.curve]
    evaluation.change, evaluation.key = {evil: 0.5}, evil
    assert evaluation.labels_seen is not None
    evaluation.labels_seen.protocol = evil
    for result in evaluation.results:
        result.extractor = {"name": evil, "sha256": evil}
    names = [evil] * 10
    attacks = make_attacks(attack)
    attacks.judge = {evil: evil}
    runs = [
        make_full_run(name, attacks, evaluation=evaluation, names=names, record=record)
        for name, record in (
            ("a", make_record()),
            ("b", make_record(settings={"method": {"name": evil}, "train": {"seed": 1}})),
        )
    ]
    for page in (report(runs[0]), report(*runs)):
        assert_safe(page)
        assert page.text.count(evil.replace("`", "")) + page.text.count(evil) > 10


def test_a_run_that_stopped_early_says_why_and_names_no_guard(tmp_path: Path, report):
    reason = "The run stopped at step 40: the images are known no better than unseen ones."
    record = make_image_record(stopped=reason, steps=40, guard=[])
    page = report(write_image_run(tmp_path / "run", record, make_image_evaluation()))
    assert_safe(page)
    assert "stopped early" in page.text and page.text.count(reason) == 2  # lead and details
    before_details = page.text.split("All settings")[0]
    assert "collapse" not in before_details and "guard" not in before_details


def test_runs_on_different_models_stand_apart(make_full_run, tmp_path: Path, report):
    other = make_record(model={"source": "zoo:other", "classes": 10, "weights": {"a": "77" * 32}})
    runs = [make_full_run("a"), make_full_run("b"), make_full_run("c", record=other)]
    page = report(*runs)
    assert_safe(page)
    assert "They began from 2 different models" in page.text
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    tables = re.findall(r"<table.*?</table>", text, re.DOTALL)
    for table in tables:
        assert not ('href="#run-3' in table and 'href="#run-1' in table)
    assert page.text.count("Class rate against Retained accuracy") == 1


def test_seeds_are_one_entry_with_mean_and_spread(make_full_run, report):
    def seed(n: int):
        settings = make_record().settings | {"train": {"seed": n}}
        return make_record(settings=settings)

    page = report(*(make_full_run(f"s{n}", record=seed(n)) for n in range(3)))
    assert_safe(page)
    assert "SFD, seeds 0, 1 and 2" in page.text and "s.d. 0" in page.text
    assert [a["id"] for a in page.all("article")] == ["run-1", "run-2", "run-3"]


def test_the_same_input_gives_the_same_bytes(make_full_run, tmp_path: Path):
    runs = [make_full_run("a"), make_full_run("b")]
    first = write_report(runs, tmp_path / "a.html").read_bytes()
    assert write_report(runs, tmp_path / "b.html").read_bytes() == first


def test_charts_take_little_room(make_full_run, report, tmp_path: Path):
    report(make_full_run())
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    charts = re.findall(r'<svg class="chart".*?</svg>', text, re.DOTALL)
    assert len(charts) >= 4 and sum(map(len, charts)) < 100_000
    assert not re.search(r"<\?xml|<!DOCTYPE svg|xlink|<defs|<metadata", text)


def test_numbers_that_are_none_do_not_stop_the_page(make_full_run, report):
    run = make_full_run()
    content = json.loads((run / "attacks.json").read_text(encoding="utf-8"))
    for result in content["results"]:
        result["level"] = result["floor"]
        result["costs"] = {}
        for points in result["curve"]["lines"].values():
            for point in points:
                point["low"] = float("nan")
    (run / "attacks.json").write_text(json.dumps(content), encoding="utf-8")
    page = report(run)
    assert_safe(page)
    assert "Nothing that can be judged was measured." in page.text
