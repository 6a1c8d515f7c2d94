"""`efface compare`: CSV, JSON, plots and tables that anything can stand in."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from efface.errors import DataError, RequestError
from efface.evaluation.wording import as_csv
from efface.reporting import write_report
from efface.reporting.pareto import pareto_figures
from efface.runs.compare import (
    as_json,
    as_records,
    as_tables,
    compare,
    differences_of,
    write_comparison,
)
from tests.reporting.conftest import RunMaker, make_evaluation, make_record, make_run
from tests.reporting.full_runs import on_terms, seeded

__all__ = ["make_run"]  # a fixture
EVIL = ["=HYPERLINK(1)", "+1", "@x", "<script>alert(1)</script>", "[red]x[/red]", 'a,"b"\nc']


def printed(bases) -> str:
    console = Console(file=io.StringIO(), width=120, force_terminal=False)
    for table in as_tables(bases):
        console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.fixture
def folders(make_run: RunMaker) -> list[Path]:
    other = make_record(model={"source": "zoo:other", "weights": {"a": "77" * 32}})
    siss = make_record(settings={"method": {"name": "siss"}})
    return [make_run("a"), make_run("b", siss, make_evaluation((0.1, 0.08, 0.12))),
            make_run("c", other)]  # fmt: skip


def test_csv_and_json_hold_the_same_figures(folders: list[Path]):
    bases = compare(folders)
    rows = list(csv.DictReader(io.StringIO(as_csv(as_records(bases)))))
    figures = json.loads(as_json(bases))["figures"]
    assert len(rows) == len(figures) == 9  # three figures of three runs
    assert list(rows[0]) == list(figures[0])
    for row, figure in zip(rows, figures, strict=True):
        assert float(row["value"]) == figure["value"] and row["metric"] == figure["metric"]
        assert row["weights"] == figure["weights"]
    first = figures[0]
    assert (first["value"], first["low"], first["high"]) == (0.01, 0.002, 0.03)
    assert (first["bounds"], first["seeds"], first["original"]) == ("95 % interval", [0], 0.994)


def test_tables_keep_base_models_apart(folders: list[Path]):
    bases = compare(folders)
    assert len(as_tables(bases)) == 2
    text = printed(bases)
    first, second = text.split("on zoo:other")
    assert "1. a" in first and "2. b" in first and "3. c" not in first
    assert "3. c" in second and "Class rate ↓" in second


def test_many_runs_are_several_tables(make_run: RunMaker):
    runs = [make_run(f"r{n}", make_record(settings={"method": {"n": n}})) for n in range(9)]
    assert len(as_tables(compare(runs))) == 3
    text = printed(compare(runs))
    assert all(f"{n + 1}. r{n}" in text for n in range(9))


@pytest.mark.parametrize("evil", EVIL)
def test_hostile_names_are_text_everywhere(make_run: RunMaker, evil: str):
    evaluation = make_evaluation()
    evaluation.results[0].extractor = {"name": evil, "sha256": evil}
    source = {"source": evil, "weights": {evil: evil}}
    runs = [
        make_run(n, make_record(model=source, settings={"method": {"name": n}}), evaluation)
        for n in (evil.replace("/", ""), "b")
    ]
    bases = compare(runs)
    rows = list(csv.reader(io.StringIO(as_csv(as_records(bases)))))
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "@", "-"))]
    assert all(len(row) == len(rows[0]) for row in rows)
    named = {name for figure in json.loads(as_json(bases))["figures"] for name in figure["runs"]}
    assert named == {evil.replace("/", ""), "b"}
    if "\n" not in evil:
        assert evil.replace("/", "") in printed(bases)
    (plot,) = (figure.svg for base in bases for figure in pareto_figures(base))
    root = ElementTree.fromstring(plot)
    assert not [e for e in root.iter() if e.tag.endswith(("script", "img"))]


def test_differences_over_seeds_stand_in_every_form(make_run: RunMaker):
    """The class rate is 0.02 and 0.01 where the original model has 0.994 with both seeds."""
    runs = []
    for seed, value in enumerate((0.02, 0.01)):
        settings = make_record().settings
        settings["train"] |= {"seed": seed}
        evaluation = make_evaluation((value, value, value))
        runs.append(make_run(f"s{seed}", make_record(settings=settings), evaluation))
    bases = compare(runs)
    figure = json.loads(as_json(bases))["figures"][0]
    reach = 12.7062 * 0.005  # Student's of one degree of freedom, times the error
    assert figure["difference"] == pytest.approx(-0.979)
    assert figure["difference_low"] == pytest.approx(-0.979 - reach, abs=1e-5)
    assert figure["difference_high"] == pytest.approx(-0.979 + reach, abs=1e-5)
    (row,) = (r for r in csv.DictReader(io.StringIO(as_csv(as_records(bases)))) if r["entry"] == "1"
              and r["metric"] == "class_rate")  # fmt: skip
    assert float(row["difference"]) == figure["difference"]
    text = " ".join(printed(bases).split())
    assert "from the original model: -97.9 points (-104.3 to -91.5)" in text
    page = write_report(runs, runs[0] / "page.html").read_text(encoding="utf-8")
    assert "from the original model: -97.9\N{NO-BREAK SPACE}points (-104.3 to -91.5)" in page


def test_methods_against_each_other_stand_in_every_table(make_run: RunMaker, tmp_path: Path):
    """Retained accuracy of 0.9 and 0.8 with both seeds: 10 points apart."""
    runs = []
    for method, retained in (("sfd", 0.9), ("esd", 0.8)):
        for seed in (0, 1):
            settings = make_record().settings
            settings["train"] |= {"seed": seed}
            settings["method"] |= {"name": method}
            evaluation = make_evaluation(retained=(retained, retained, retained))
            name = f"{method}{seed}"
            runs.append(make_run(name, make_record(settings=settings), evaluation))
    bases = compare(runs)
    (found,) = (
        d for d in json.loads(as_json(bases))["differences"] if d["metric"] == "retained_accuracy"
    )
    assert found["difference"] == pytest.approx(0.1) and found["seeds"] == [0, 1]
    assert "1 less 2 +10.0 points" in " ".join(printed(bases).split())


def test_methods_are_compared_seed_by_seed(make_run: RunMaker):
    """Seeds 1 and 2 are common: differences 1 and 3, mean 2; Student's t of one degree, 12.706."""
    other = {"method": {"name": "esd"}}
    runs = [make_run(f"a{n}", seeded(n), on_terms(10.0 + n)) for n in (0, 1, 2)]
    runs += [
        make_run(f"b{n}", seeded(n, **other), on_terms(10.0 + n - gap))
        for n, gap in ((2, 3.0), (1, 1.0), (5, 9.0))
    ]
    (base,) = compare(runs)
    (row,) = (row for row in base.rows if row.key.spec.name == "fd")
    (found,) = differences_of(base, row)
    assert (found.first.number, found.second.number, found.seeds) == (1, 2, (1, 2))
    assert found.value.value == pytest.approx(2.0)
    assert found.value.low == pytest.approx(2.0 - 12.7062, abs=1e-3)
    assert found.value.high == pytest.approx(2.0 + 12.7062, abs=1e-3)


def test_one_common_seed_is_no_comparison(make_run: RunMaker):
    other = {"method": {"name": "esd"}}
    runs = [make_run("a", seeded(0)), make_run("b", seeded(0, **other))]
    (base,) = compare(runs)
    assert not [found for row in base.rows for found in differences_of(base, row)]


def test_negative_numbers_stay_numbers(make_run: RunMaker):
    evaluation = make_evaluation()
    evaluation.results[2].value = -1.5
    text = as_csv(as_records(compare([make_run("a", evaluation=evaluation)])))
    (row,) = (r for r in csv.DictReader(io.StringIO(text)) if r["metric"] == "fd")
    assert float(row["value"]) == -1.5


def test_what_was_not_measured_is_left_out(make_run: RunMaker, tmp_path: Path):
    bases = compare([make_run("a", evaluation=None), make_run("b", evaluation=None)])
    assert list(as_records(bases)) == []
    assert [p.name for p in write_comparison(bases, tmp_path)] == [
        "comparison.csv", "comparison.json",
    ]  # fmt: skip
    assert "forget: not measured" in " ".join(printed(bases).split())


def test_the_same_runs_give_the_same_bytes(folders: list[Path], tmp_path: Path):
    first, second = (write_comparison(compare(folders), tmp_path / n) for n in "ab")
    assert [p.name for p in first] == ["comparison.csv", "comparison.json"]
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


def test_bad_input_is_one_sentence(tmp_path: Path, folders: list[Path]):
    with pytest.raises(DataError, match="no run was given"):
        compare([])
    with pytest.raises(DataError, match="missing"):
        compare([tmp_path / "none"])
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match="cannot be written"):
        write_comparison(compare(folders), tmp_path / "file")
