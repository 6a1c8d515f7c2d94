"""Hostile prompts, phrases and names in a browser: shown as they are, and nothing runs."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

import pytest

from efface.records import Attacks, Evaluation
from efface.reporting import write_report
from tests.reporting.browsing import BROKEN, OPEN
from tests.reporting.full_runs import make_attack, make_attacks, make_curve
from tests.reporting.prompt_runs import (
    make_concept_evaluation,
    make_concept_record,
    make_memorised_evaluation,
    make_memorised_record,
    write_prompt_run,
)

ATTACKS = (  # each short enough to be shown whole
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg onload=alert(1)>",
    "</title><script>alert(1)</script>",
    "--><iframe srcdoc=<script>1</script>>",
    "</script><b onclick=alert(1)>bag</b>",
)
KINDS = ("concept", "memorised")
FOLDER = 'bag"><img src=x onerror=alert(1)>'  # a folder's name holds no slash


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Addresses of a page of each kind, and of both runs side by side."""
    folder = tmp_path_factory.mktemp("hostile")
    runs = {kind: _write(folder / kind / FOLDER, kind) for kind in KINDS}
    addresses = {
        kind: write_report([run], folder / f"{kind}.html").as_uri() for kind, run in runs.items()
    }
    return addresses | {"both": write_report([*runs.values()], folder / "both.html").as_uri()}


def _write(folder: Path, kind: str) -> Path:
    concept, replacement, detector, group, prompt, model = ATTACKS
    if kind == "concept":
        record = make_concept_record(concept, replacement)
        groups = [("paraphrase", group), ("neighbour", group), (group, prompt)]
        evaluation = make_concept_evaluation(detector=detector, groups=groups)
    else:
        record = make_memorised_record(concept, replacement)
        evaluation = make_memorised_evaluation()
        for result in evaluation.results:
            result.extractor = {"kind": "detector", "name": detector, "sha256": detector}
    record = record.model_copy(
        update={"note": prompt, "stopped": model, "hardware": {"gpus": [group]}}
    )
    record.model["source"] = model
    record.notes.update({prompt: prompt})
    evaluation = evaluation.model_copy(update=_told(evaluation, detector))
    return write_prompt_run(folder, record, evaluation, ATTACKS, _attacks(concept))


def _told(evaluation: Evaluation, evil: str) -> dict[str, object]:
    curve = make_curve(evil).model_copy(update={"x_label": evil, "y_label": evil})
    curve.lines[evil] = curve.lines.pop("retrained")
    terms = {evil: evil}
    return {
        "curves": [*evaluation.curves, curve],
        "change": {evil: 0.5},
        "key": evil,
        "terms": terms,
    }


def _attacks(evil: str) -> Attacks:
    return make_attacks(make_attack("concept_inversion", notes=[evil], settings={evil: evil}))


@pytest.mark.parametrize("bypass", [False, True], ids=["as it is", "without its policy"])
@pytest.mark.parametrize("name", [*KINDS, "both"])
def test_nothing_runs_and_nothing_is_asked_for(visit_page, pages, name: str, bypass: bool):
    visit = visit_page(pages[name], bypass_csp=bypass)
    visit.tell(OPEN)
    visit.page.wait_for_load_state("networkidle")
    assert visit.complaints == []
    loaded = [url for url in visit.requests if not url.startswith("data:image/png;base64,")]
    assert loaded == [pages[name]]
    assert visit.tell("document.scripts.length") == 1
    assert visit.tell("document.querySelectorAll('iframe, object, embed, main b b').length") == 0
    assert visit.tell(HANDLERS) == []
    assert visit.tell(BROKEN) == []
    assert visit.tell("document.images.length && [...document.images].every(i => i.naturalWidth)")


@pytest.mark.parametrize("kind", KINDS)
def test_every_hostile_text_is_shown_as_it_is(visit_page, pages, kind: str):
    visit = visit_page(pages[kind])
    visit.tell(OPEN)
    concept, replacement, detector, group, prompt, model = ATTACKS
    lead, details = visit.page.inner_text(".lead"), visit.page.inner_text("[id$=details] ~ details")
    body = visit.page.inner_text("body")
    assert all(text in lead for text in (concept, replacement, model, prompt))
    assert detector in details and body.count(detector) > 3
    assert FOLDER in visit.page.inner_text(".kicker")
    rows = visit.page.locator(".shot.before .labels li").all_inner_texts()
    assert rows[: len(ATTACKS)] == list(ATTACKS)
    assert visit.tell("document.title").startswith("Efface: ")
    assert visit.page.locator(".shot.before img").get_attribute("alt").count(prompt) == 1
    if kind == "concept":
        assert f"The concept “{concept}”" in visit.page.inner_text("h1")
        assert f"A detector decided what the samples show: {detector}." in lead
        names = visit.page.locator("table.metrics .name").all_inner_texts()
        assert any(f"Paraphrase: {group}" in name for name in names)
        assert any(f"Neighbour: {group}" in name for name in names)


def test_a_headline_that_stands_in_the_title_ends_no_element(visit_page, pages):
    visit = visit_page(pages["concept"])
    assert ATTACKS[0] in visit.tell("document.title")
    assert visit.tell("document.head.querySelectorAll('img, svg, b').length") == 0
    assert visit.tell("document.querySelectorAll('head > title, style, script').length") == 3


def test_text_that_is_not_escaped_would_be_noticed(visit_page, pages, tmp_path: Path):
    page = Path(unquote(pages["concept"].removeprefix("file://"))).read_text(encoding="utf-8")
    for n, attack in enumerate(ATTACKS[:2]):
        (tmp_path / f"{n}.html").write_text(page.replace("</main>", attack), encoding="utf-8")
        address = (tmp_path / f"{n}.html").as_uri()
        assert "1" in visit_page(address, bypass_csp=True).complaints
        guarded = visit_page(address).complaints
        assert guarded and "1" not in guarded


HANDLERS = """[...document.querySelectorAll('*')].filter(element =>
    [...element.attributes].some(attribute => attribute.name.startsWith('on'))
    || /^javascript:/i.test(element.getAttribute('href') || '')).map(e => e.outerHTML)"""
