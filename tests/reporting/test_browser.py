"""The page in a browser: nothing from the network, everything by keyboard, at every width."""

from __future__ import annotations

from pathlib import Path

import pytest

from efface.records import write_json
from efface.reporting import write_report
from tests.reporting.browsing import BROKEN, CONTRAST, OPEN, RGB
from tests.reporting.full_runs import (
    make_attack,
    make_attacks,
    make_curve,
    make_matrix,
    write_class_run,
)
from tests.reporting.image_runs import (
    make_image_evaluation,
    make_image_record,
    write_image_run,
)
from tests.reporting.pages import HOSTILE

PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
EVIL = "".join(HOSTILE)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Addresses of a page about a class, about runs of both kinds, and a hostile one."""
    folder = tmp_path_factory.mktemp("pages")

    def address(name: str, *runs: Path) -> str:
        return write_report(runs, folder / f"{name}.html").as_uri()

    classes = write_class_run(folder / "class")
    images = write_image_run(folder / "images", evaluation=make_image_evaluation(retrained=True))
    evil = _evil_run(folder / "evil")
    return {
        "class": address("class", classes),
        "several": address("several", images, classes, write_class_run(folder / "second", seed=1)),
        "evil": address("evil", evil, classes),
    }


def _evil_run(folder: Path) -> Path:
    record = make_image_record(
        [EVIL, *HOSTILE], note=EVIL, started=EVIL, versions={"efface": EVIL, EVIL: EVIL},
        model={"source": EVIL, "weights": {EVIL: EVIL}}, stopped=EVIL,
        settings={"method": {"name": EVIL}, "train": {EVIL: EVIL}},
    )  # fmt: skip
    evaluation = make_image_evaluation(names=[EVIL, *HOSTILE])
    evaluation.curves = [make_curve(EVIL).model_copy(update={"x_label": EVIL, "y_label": EVIL})]
    evaluation.curves[0].lines[EVIL] = evaluation.curves[0].lines.pop("retrained")
    evaluation.labels_seen = make_matrix()
    for result in evaluation.results:
        result.protocol, result.extractor = EVIL, {"name": EVIL, "sha256": EVIL}
    write_image_run(folder, record, evaluation, before=EVIL, after=EVIL)
    attack = make_attack(EVIL, notes=[EVIL], settings={EVIL: EVIL})
    write_json(folder / "attacks.json", make_attacks(attack))
    return folder


@pytest.mark.parametrize("name", ["class", "several"])
def test_a_page_opens_without_a_complaint_and_asks_for_nothing(visit_page, pages, name: str):
    visit = visit_page(pages[name])
    assert visit.complaints == []
    loaded = [url for url in visit.requests if not url.startswith("data:image/png;base64,")]
    assert loaded == [pages[name]]
    assert visit.tell("document.images.length && [...document.images].every(i => i.naturalWidth)")


def test_the_slider_moves_by_keyboard(visit_page, pages):
    visit = visit_page(pages["class"])
    assert visit.cut == "inset(0px 0px 0px 50%)"
    visit.focus("input[type=range]")
    for _ in range(3):
        visit.page.keyboard.press("ArrowRight")
    assert visit.cut == "inset(0px 0px 0px 53%)"
    assert visit.tell("document.activeElement.ariaValueText") == "53 % before, 47 % after"
    visit.page.keyboard.press("Home")
    assert visit.cut == "inset(0px 0px 0px 0%)"


def test_the_slider_moves_by_dragging_over_the_samples(visit_page, pages):
    visit = visit_page(pages["several"])
    image = visit.page.locator(".shot.before .image").first
    image.scroll_into_view_if_needed()
    box = image.bounding_box()
    assert box is not None
    visit.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    visit.page.mouse.down()
    visit.page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 20)
    visit.page.mouse.up()
    assert visit.page.locator("input[type=range]").first.input_value() == "25"


def test_the_samples_can_be_shown_side_by_side_by_keyboard(visit_page, pages):
    visit = visit_page(pages["class"])
    apart = """(() => { const [a, b] = [...document.querySelectorAll('.compare .image')]
        .map(p => p.getBoundingClientRect()); return a.right <= b.left || a.bottom <= b.top; })()"""
    assert not visit.tell(apart)
    visit.focus(".beside input")
    visit.page.keyboard.press("Space")
    assert visit.tell(apart) and visit.cut == "none"
    assert not visit.page.locator("input[type=range]").is_visible()
    assert visit.page.locator(".beside input").is_checked()


def test_without_scripts_both_sheets_are_there(visit_page, pages):
    visit = visit_page(pages["class"], java_script_enabled=False)
    boxes = [shot.bounding_box() for shot in visit.page.locator(".compare .image").all()]
    assert len(boxes) == 2 and all(boxes)
    before, after = boxes
    assert before["x"] + before["width"] <= after["x"]
    assert not visit.page.locator("input[type=range]").is_visible()


def test_a_figure_leads_to_its_protocol_inside_a_closed_fold(visit_page, pages):
    visit = visit_page(pages["class"])
    link = visit.page.locator("table.metrics a.how").first
    target = visit.page.locator(link.get_attribute("href") or "")
    assert not target.is_visible()
    link.focus()
    visit.page.keyboard.press("Enter")
    target.wait_for(state="visible")
    assert "seeds" in target.inner_text() and "protocol" in target.inner_text()
    visit.page.wait_for_function("scrollY > 0")


@pytest.mark.parametrize("name", ["class", "several", "evil"])
def test_on_a_phone_nothing_scrolls_sideways_and_links_lead_somewhere(visit_page, pages, name: str):
    visit = visit_page(pages[name], **PHONE)
    visit.tell(OPEN)
    assert visit.tell("document.documentElement.scrollWidth") == 360
    assert visit.tell(BROKEN) == [] and visit.tell("document.links.length") > 5
    small = "[...document.querySelectorAll('p, li, td, th')].map(e => getComputedStyle(e).fontSize)"
    assert min(float(size.removesuffix("px")) for size in visit.tell(small)) >= 11


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_both_schemes(visit_page, pages, scheme: str):
    visit = visit_page(pages["several"], color_scheme=scheme)
    dark = sum(visit.tell(RGB.format("document.body", "backgroundColor"))) < 3 * 128
    assert dark == (scheme == "dark")
    worst = visit.tell(CONTRAST)
    assert worst["ratio"] >= 4.5, worst


@pytest.mark.parametrize("scripts", [True, False])
def test_print_shows_everything_side_by_side_on_white(visit_page, pages, scripts: bool):
    visit = visit_page(pages["class"], color_scheme="dark", java_script_enabled=scripts)
    facts = visit.page.locator("details dl").all()
    assert len(facts) > 5 and not any(fact.is_visible() for fact in facts)
    visit.page.emulate_media(media="print")
    assert all(fact.is_visible() for fact in facts)
    assert visit.tell(RGB.format("document.body", "backgroundColor")) == [255, 255, 255]
    assert visit.cut == "none"
    assert not visit.page.locator("input[type=range]").is_visible()
    assert not visit.page.locator("nav, a.how").first.is_visible()
    assert visit.page.pdf(format="A4").startswith(b"%PDF")


def test_hostile_text_is_inert(visit_page, pages):
    visit = visit_page(pages["evil"])
    visit.tell(OPEN)
    assert visit.complaints == []
    assert all(u == pages["evil"] or u.startswith("data:image/png") for u in visit.requests)
    assert visit.tell("document.scripts.length") == 1
    assert visit.tell("document.querySelectorAll('[onerror], [onload], b > b').length") == 0
    assert "<script>alert(1)</script>" in visit.page.inner_text("body")
    assert visit.tell("document.title").startswith("Efface")


def test_a_script_that_is_not_the_pages_own_does_not_run(visit_page, pages, tmp_path: Path):
    page = Path(pages["class"].removeprefix("file://")).read_text(encoding="utf-8")
    (tmp_path / "page.html").write_text(
        page.replace("</main>", "<script>window.ran = 1</script></main>"), encoding="utf-8"
    )
    visit = visit_page((tmp_path / "page.html").as_uri())
    assert visit.tell("window.ran") is None
    assert any("Content Security Policy" in complaint for complaint in visit.complaints)
