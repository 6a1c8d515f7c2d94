"""What a page looks like: light, dark, on a phone and on paper.

EFFACE_SCREENSHOTS=FOLDER keeps a screenshot of each, for a person to look at.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from efface.reporting import write_report
from tests.reporting.browsing import A4, CONTRAST, OPEN, PAGED, WIDER, Visit
from tests.reporting.full_runs import write_class_run
from tests.reporting.image_runs import (
    make_image_evaluation,
    make_image_record,
    write_image_run,
)
from tests.reporting.prompt_runs import (
    make_concept_evaluation,
    make_concept_record,
    write_prompt_run,
)

PHONE_WIDTH = 390
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {
        "viewport": {"width": PHONE_WIDTH, "height": 844}, "is_mobile": True, "has_touch": True,
    },
    "print": {"viewport": A4, "color_scheme": "dark"},
}  # fmt: skip
PARTS = (*("samples", "measured", "labels", "curves", "attacks", "limits", "details"),)
RUNS = {"class": 1, "images": 1, "concept": 1, "several": 3}  # pages, and how many runs each holds


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Addresses of pages about one run of every kind, the longest there are, and about three."""
    folder = tmp_path_factory.mktemp("looks")
    names = [chr(ord("a") + n) for n in range(10)]  # short ones leave most room to the images
    evaluation = make_image_evaluation(retrained=True, names=names)
    evaluations = make_concept_evaluation(
        groups=[(kind, f"words {n}") for kind in ("paraphrase", "neighbour") for n in range(12)]
    )
    runs = {
        "class": [write_class_run(folder / "runs" / "class")],
        "images": [
            write_image_run(
                folder / "runs" / "images", make_image_record(names), evaluation, rows=10
            )
        ],
        "concept": [
            write_prompt_run(folder / "runs" / "concept", make_concept_record(), evaluations)
        ],
    }
    runs["several"] = [run for own in runs.values() for run in own]
    return {name: write_report(own, folder / f"{name}.html").as_uri() for name, own in runs.items()}


def print_page(visit: Visit) -> Visit:
    """As the print dialogue does."""
    visit.page.emulate_media(media="print")
    return visit


@pytest.mark.parametrize("look", LOOKS)
def test_every_part_is_there_and_nothing_stands_out_of_the_page(visit_page, pages, look: str):
    visit = visit_page(pages["class"], **LOOKS[look])
    if look == "print":
        print_page(visit)
    visit.keep(f"report-{look}")
    width = visit.tell("innerWidth")
    assert width == LOOKS[look].get("viewport", {"width": 1280})["width"]
    assert visit.tell("document.documentElement.scrollWidth") == width
    for part in PARTS:
        heading = visit.page.locator(f"#run-1-{part}")
        section = visit.page.locator(f"section[aria-labelledby=run-1-{part}]")
        assert heading.is_visible(), part
        box = section.bounding_box()
        assert box is not None and box["width"] > 0.8 * min(width, PHONE_WIDTH), part
        assert box["height"] > heading.bounding_box()["height"] + 10, part
    assert visit.page.locator(".verdict .headline").is_visible()
    assert [a.is_visible() for a in visit.page.locator(".answers div").all()] == [True] * 4
    worst = visit.tell(CONTRAST)
    assert worst["ratio"] >= 4.5, worst


@pytest.mark.parametrize("name", ["images", "concept", "several"])
def test_on_a_phone_only_tables_scroll(visit_page, pages, name: str):
    visit = visit_page(pages[name], **LOOKS["phone"])
    visit.tell(OPEN)
    assert visit.tell("document.body.scrollWidth") == PHONE_WIDTH
    out = "[...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll, .unseen, svg')"
    out += f" && e.getBoundingClientRect().right > {PHONE_WIDTH} + 0.5).map(e => e.outerHTML)"
    assert visit.tell(out) == []


@pytest.mark.parametrize("name", RUNS)
def test_on_paper_nothing_is_cut_or_wider_than_the_page(visit_page, pages, name: str):
    visit = print_page(visit_page(pages[name], viewport=A4))
    assert visit.tell(WIDER) == []
    breaks = "[...document.querySelectorAll('figure, .answers div, tr, .attack, .protocol')]"
    breaks += ".map(e => getComputedStyle(e).breakInside)"
    assert set(visit.tell(breaks)) == {"avoid"}
    pdf = visit.page.pdf(format="A4")
    found = visit.page.evaluate(PAGED, [A4["width"], A4["height"]])
    assert found["cut"] == []
    assert found["pages"] <= count_pages(pdf) <= found["pages"] + RUNS[name]  # runs begin a page
    assert set(re.findall(rb"/MediaBox \[([^]]+)\]", pdf)) == {b"0 0 595.91998 842.88"}


def test_text_in_charts_is_legible_on_a_phone(visit_page, pages):
    visit = visit_page(pages["several"], **LOOKS["phone"])
    sizes = "[...document.querySelectorAll('.chart')].map(e => parseFloat("
    sizes += (
        "getComputedStyle(e).fontSize) * e.getBoundingClientRect().width / e.viewBox.baseVal.width)"
    )
    found = visit.tell(sizes)
    assert len(found) >= 4 and min(found) >= 10
    fonts = "new Set([...document.querySelectorAll('body, .chart text')].map("
    assert len(visit.tell(f"[...{fonts}e => getComputedStyle(e).fontFamily))]")) == 1


def test_whiskers_lie_where_their_figures_say(visit_page, pages):
    visit = visit_page(pages["class"])
    bars = """[...document.querySelectorAll('.whiskers .whisker')].map(e => {
        const box = getComputedStyle(e, '::before'), style = e.style;
        return [e.clientWidth, parseFloat(box.left), parseFloat(box.width),
                ...['--low', '--high'].map(name => parseFloat(style.getPropertyValue(name)))];
    })"""
    found = visit.tell(bars)
    assert len(found) > 5
    for width, left, length, low, high in found:
        assert left == pytest.approx(width * low / 100, abs=0.5)
        assert length == pytest.approx(max(2, width * (high - low) / 100), abs=0.5)


def count_pages(pdf: bytes) -> int:
    return len(re.findall(rb"/Type\s*/Page\b(?!s)", pdf))


def test_what_is_cut_would_be_noticed(visit_page, pages):
    visit = print_page(visit_page(pages["several"], viewport=A4))
    visit.page.add_style_tag(content="* { break-inside: auto !important }")
    cut = visit.page.evaluate(PAGED, [A4["width"], A4["height"]])["cut"]
    assert any(element.startswith("<figure") for element in cut)
