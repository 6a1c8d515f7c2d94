"""The page about forgotten images: whole, and safe against names and files of others."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from efface.records import Evaluation
from efface.reporting import write_report
from efface.reporting.page import known_best_first
from tests.reporting.conftest import RunMaker
from tests.reporting.image_runs import (
    make_image_evaluation,
    make_image_record,
    make_image_result,
    write_image_run,
)
from tests.reporting.pages import HOSTILE, Page, assert_safe

HOSTILE_NAMES = [
    *HOSTILE,
    "\u202egnp.tpircs",
    "half a pair \udcff.png",
    "zero\x00byte\x1b[31m\n.png",
    "a" * 5000 + ".png",
    "",
]


@pytest.fixture
def report(tmp_path: Path) -> Callable[..., Page]:
    return lambda *runs: Page(write_report(runs, tmp_path / "report.html"))


def described_by(page: Page, start: str) -> str:
    return next(a["alt"] or "" for a in page.all("img") if (a["alt"] or "").startswith(start))


def test_a_page_holds_everything_and_loads_nothing(tmp_path: Path, report):
    run = write_image_run(tmp_path / "run", evaluation=make_image_evaluation(retrained=True))
    page = report(run)
    assert_safe(page)
    assert [len(page.all(tag)) for tag in ("h1", "img")] == [1, 3]
    for said in (
        "The image is forgotten", "Retrained", "Unseen images", "Membership gap", "heart.png",
        "What became of the image to forget", "Before and after", "Images to forget",
        "4 of 80 before and none after", "00" * 32, "takedown/2026-03", "held-out",
    ):  # fmt: skip
        assert said in page.text, said
    assert "80 samples, of which 4 are copies" in described_by(page, "Before")
    assert "80 samples, of which none are copies" in described_by(page, "After")


def test_limits_are_stated(tmp_path: Path, report):
    said = report(write_image_run(tmp_path / "run")).text
    for part in (
        "no proof that its influence is gone", "No attack was run", "not differential privacy",
        "the original model generated them", "leave room for a rate of up to 0.4\u00a0%",
        "More forgetting than never seen is not better", "and none was measured",
    ):  # fmt: skip
        assert part in said, part


def test_copies_are_framed_where_they_are(tmp_path: Path, report):
    run = write_image_run(tmp_path / "run", copies_before=[3, 79], copies_after=[10])
    frames = [a["style"] for a in report(run).all("span") if a.get("class") == "frame"]
    places = [re.findall(r"(?:left|top): ([\d.]+)%", style or "") for style in frames]
    assert places == [["30.0000", "0.0000"], ["90.0000", "87.5000"], ["0.0000", "12.5000"]]


@pytest.mark.parametrize("evil", HOSTILE_NAMES)
def test_hostile_names_come_out_as_text(tmp_path: Path, report, evil: str):
    request = dict.fromkeys(("images", "retain", "unseen"), evil)
    material = {"hashes": [evil] * 19, evil: evil}
    record = make_image_record([evil] * 20, request=request, material=material)
    evaluation = make_image_evaluation(names=[evil] * 20)
    evaluation.results.append(make_image_result(evil, (0.5,) * 3, (0.5,) * 3))
    sampler = evil.replace("\udcff", "")  # which grid.json, being UTF-8, cannot hold
    run = write_image_run(tmp_path / "run", record, evaluation, rows=10, before=sampler)
    for page in (report(run), report(run, run)):
        assert_safe(page)
    if evil in HOSTILE:
        assert page.text.count(evil) > 20
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    table = text[text.index('<table class="image-table">') : text.index("Before and after")]
    assert not set(table) & set("\u202e\x00\x1b") and "a" * 100 not in table


@pytest.mark.parametrize("given", [None, "one.png", 7, [None, 1.5, {"a": "b"}]])
def test_material_of_another_shape_has_a_page(tmp_path: Path, report, given: object):
    record = make_image_record(material={"names": given, "hashes": given})
    assert_safe(report(write_image_run(tmp_path / "run", record)))


@pytest.mark.parametrize(
    "missing, images", [("images.png", 2), ("before.png", 1), ("after.png", 1), ("grid.json", 1)]
)
def test_missing_files_leave_their_part_out(tmp_path: Path, report, missing: str, images: int):
    run = write_image_run(tmp_path / "run")
    (run / "samples" / missing).unlink()
    page = report(run)
    assert_safe(page)
    assert len(page.all("img")) == images
    assert "What became of the image" in page.text
    assert ("Before and after" in page.text) == (images == 2)


def test_a_bare_record_is_enough(tmp_path: Path, report):
    run = write_image_run(tmp_path / "run", evaluation=Evaluation(results=[]))
    for path in [*(run / "samples").iterdir(), run / "evaluation.json"]:
        path.unlink()
    page = report(run)
    assert_safe(page)
    assert page.all("img") == page.all("table") == []
    assert "Not measured" in page.text and "What became of" not in page.text


def test_columns_are_there_only_where_they_hold_something(tmp_path: Path, report):
    def headers(evaluation: Evaluation, name: str) -> str:
        run = write_image_run(tmp_path / name, evaluation=evaluation)
        return report(run).text.split("This model")[-1].split("Forget set")[0]

    assert "Retrained" in headers(make_image_evaluation(retrained=True), "a")
    plain = headers(make_image_evaluation(), "b")
    assert "Retrained" not in plain and "Unseen images" in plain
    assert "Unseen images" not in headers(make_image_evaluation(gap=None), "c")


def test_runs_of_both_kinds_stand_side_by_side(tmp_path: Path, make_run: RunMaker, report):
    page = report(make_run("classes"), write_image_run(tmp_path / "images"))
    assert_safe(page)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))


def test_the_same_input_gives_the_same_bytes(tmp_path: Path):
    run = write_image_run(tmp_path / "run", rows=4)
    first = write_report([run], tmp_path / "a.html").read_bytes()
    assert write_report([run], tmp_path / "b.html").read_bytes() == first


def test_images_that_are_known_best_come_first_and_many_fold_away(tmp_path: Path, report):
    evaluation = make_image_evaluation(names=[f"{n}.png" for n in range(30)])
    evaluation.images[29].copies = 2
    evaluation.images[28].loss = 0.001
    evaluation.images[27].loss = float("nan")
    assert [n for n, _ in known_best_first(evaluation.images)][:3] == [30, 29, 1]
    assert known_best_first(evaluation.images)[-1][0] == 28
    report(write_image_run(tmp_path / "run", evaluation=evaluation))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    shown, folded = (
        re.findall(r'<th scope="row">(\d+)\.', table)
        for table in re.findall(r'<table class="image-table">.*?</table>', page, re.DOTALL)
    )
    assert (len(shown), len(folded)) == (12, 18) and shown[:3] == ["30", "29", "1"]
    assert folded[-1] == "28" and "<summary>The other 18</summary>" in page
