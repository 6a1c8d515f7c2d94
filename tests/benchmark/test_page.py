"""The page is a function of the benchmark's JSON, and shows untrusted text as text."""

from __future__ import annotations

from efface.benchmark.page import plots, render
from efface.benchmark.results import Bench
from efface.records import parse_record
from tests.benchmark.conftest import Made


def test_the_page_follows_from_the_json_alone(whole: Made) -> None:
    content = (whole.out / "bench.json").read_bytes()
    read = parse_record(Bench, content, "bench.json", "run again")
    assert read == whole.bench
    assert render(read) == (whole.out / "bench.html").read_text(encoding="utf-8")


def test_names_are_shown_and_never_run(whole: Made) -> None:
    bad = "<script>alert(1)</script>"
    rows = [row.model_copy(update={"name": bad, "failed": [bad]}) for row in whole.bench.rows]
    page = render(whole.bench.model_copy(update={"rows": rows, "command": bad}))
    assert "<script" not in page and "&lt;script&gt;" in page
    assert "default-src &#39;none&#39;" in page


def test_forgetting_is_plotted_against_both_views_and_the_cost(whole: Made) -> None:
    found = plots(whole.bench.rows)
    assert [plot.title for plot in found] == [
        "Class rate against Retained accuracy",
        "Class rate against Fréchet distance",
        "Class rate against Fréchet distance (pixels, against the original)",
        "Cost against Class rate",
        "Cost against Retained accuracy",
    ]
    assert [number for number, _ in found[0].rows] == [1, 2, 3, 4]
    assert [number for number, _ in found[-1].rows] == [3, 4]  # the original model took none
    assert "<svg" in found[0].svg and "http" not in found[0].svg


def test_rows_without_figures_have_no_plots(whole: Made) -> None:
    rows = [row.model_copy(update={"figures": []}) for row in whole.bench.rows]
    assert plots(rows) == []
    assert "Measured" in render(whole.bench.model_copy(update={"rows": rows}))
