"""What is forged in an evaluation is noticed: every number, word and figure of a run."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import efface
from efface.evidence.compare import (
    Again,
    Check,
    Part,
    compare,
    compare_images,
    differing,
    parts_of,
    tolerance,
)
from efface.evidence.networks import Given
from efface.evidence.remeasure import remeasure
from efface.records import Evaluation, Result, read_evaluation, read_record
from tests.evidence.conftest import LABELS, forget

UNMEASURED = {"schema_version", "key", "retrained"}
Place = tuple[str | int, ...]


@pytest.fixture(scope="module")
def run(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the model that ships; the tiny model stands for one that was retrained."""
    out = tmp_path_factory.mktemp("runs") / "run"
    forget("zoo:digits", efface.ForgetClass(labels=(3,), replacement=(1,)), out, LABELS)  # pyright: ignore
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EFFACE_CACHE", "off")
        efface.evaluate(out, retrained=tiny_model)
    return out


@pytest.fixture(scope="module")
def recorded(run: Path) -> Evaluation:
    return read_evaluation(run)


@pytest.fixture(scope="module")
def again(run: Path, recorded: Evaluation, tmp_path_factory: pytest.TempPathFactory) -> Again:
    """Measured once, compared with many."""
    empty = tmp_path_factory.mktemp("unpacked")
    return remeasure(read_record(run), recorded, empty, run / "pipeline", Given())


def bad(checks: list[Check]) -> set[str]:
    return {check.subject for check in checks if not check.good}


def leaves(value: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Every number and word of JSON with its place: written anew, for all that may be added."""
    if isinstance(value, dict | list):
        for name, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(part, (*place, name))
    elif value is not None:
        yield place, value


def forged(evaluation: Evaluation, changes: dict[Place, Any]) -> Evaluation:
    changed = evaluation.model_dump(mode="json")
    for place, value in changes.items():
        inner = changed
        for name in place[:-1]:
            inner = inner[name]
        inner[place[-1]] = value
    return Evaluation.model_validate(changed)


def measured(evaluation: Evaluation) -> dict[str, Any]:
    return {n: v for n, v in evaluation.model_dump(mode="json").items() if n not in UNMEASURED}


def test_what_was_recorded_here_agrees_with_what_is_measured_here(recorded, again):
    checks = compare(recorded, again)
    assert not bad(checks), checks
    assert all(check.looked for check in checks)
    names = [figure_of(check.subject) for check in checks]
    assert {"unlearning_accuracy", "fd", "labels_seen", "change", "judge", "terms"} <= set(names)


def beside(recorded: Evaluation, again: Again) -> list[tuple[Part, Part]]:
    """All that was recorded, each beside what was measured of it again."""
    then, now = parts_of(recorded), parts_of(again.evaluation)
    assert list(then) == list(now)
    told = sum(len(part.values) for part in then.values())
    assert told == len(list(leaves(measured(recorded))))
    return list(zip(then.values(), now.values(), strict=True))


def forge(part: Part, changes: dict[tuple[str, ...], Any]) -> Part:
    return replace(part, values={**part.values, **changes})


@pytest.mark.parametrize("sign", [1, -1])
def test_every_forged_number_is_noticed_and_named(recorded, again, sign):
    """Each by little more than twice its tolerance, whatever stands beside it."""
    count = 0
    for then, now in beside(recorded, again):
        numbers = {p: v for p, v in then.values.items() if type(v) in (int, float)}
        changes = {p: v + sign * (2.01 * tolerance(now, p) or 1) for p, v in numbers.items()}
        assert not differing(then, now)
        assert differing(forge(then, changes), now) == sorted(numbers)
        count += len(numbers)
    assert count > 1500


@pytest.mark.parametrize(
    "place", [("results", 0, "value"), ("curves", 0, "lines", "result", 3, "high"),
              ("labels_seen", "shares", "result", 2, 2), ("change", "weights")],
)  # fmt: skip
def test_a_forged_number_is_named_by_its_place(recorded, again, place):
    value = recorded.model_dump(mode="json")
    for name in place:
        value = value[name]
    checks = compare(forged(recorded, {place: value + 0.5}), again)
    (check,) = [check for check in checks if not check.good]
    inner = place[2:] if place[0] in ("results", "curves") else place[1:]
    assert f"{'.'.join(map(str, inner))}: recorded" in check.text


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e308, -1e308])
def test_what_is_no_number_is_no_figure(recorded, again, value):
    place = ("results", 0, "value")
    first = recorded.results[0].metric
    assert first in bad(compare(forged(recorded, {place: value}), again))


def test_every_forged_word_is_noticed(recorded, again):
    count = 0
    for then, now in beside(recorded, again):
        words = {p: v for p, v in then.values.items() if isinstance(v, str)}
        assert differing(forge(then, {p: f"{v}." for p, v in words.items()}), now) == sorted(words)
        count += len(words)
    assert count > 40


@pytest.mark.parametrize("name, value", [("name", "x"), ("side", "x"), ("role", "context")])
def test_a_figure_that_is_called_another_is_noticed(recorded, again, name, value):
    spec = recorded.results[0].spec
    value = {"side": "retain" if spec.side == "forget" else "forget"}.get(name, value)
    assert bad(compare(forged(recorded, {("results", 0, "spec", name): value}), again))


def test_a_model_that_is_broken_is_not_called_whole(recorded, again):
    assert bad(compare(forged(recorded, {("broken",): True}), again)) == {"broken"}
    broken = Again(evaluation=Evaluation(results=[], broken=True), missing={})
    assert {"broken", recorded.results[0].metric} <= bad(compare(recorded, broken))


def figure_of(subject: str) -> str:
    """A figure's name without the network that tells it from another of the name."""
    return re.sub(r" \([^)]*\)", "", subject)


@pytest.mark.parametrize("lost", ["extractor", "reference"])
def test_a_guidance_that_was_not_chosen_again_is_not_called_right(recorded, again, lost):
    def of_guidance(found: Again) -> Check:
        (check,) = (c for c in compare(recorded, found) if c.subject == "guidance")
        return check

    assert of_guidance(again).looked
    assert not of_guidance(Again(evaluation=again.evaluation, missing={lost: "not here"})).looked


def renamed(result: Result, name: str) -> Result:
    return result.model_copy(update={"spec": result.spec.model_copy(update={"name": name})})


def test_a_figure_that_was_removed_added_doubled_or_moved_is_noticed(recorded, again):
    results = recorded.results
    for i, result in enumerate(results):
        left = recorded.model_copy(update={"results": results[:i] + results[i + 1 :]})
        assert result.metric in set(map(figure_of, bad(compare(left, again))))
        better = renamed(result, "better")
        more = recorded.model_copy(update={"results": [*results, better]})
        assert bad(compare(more, again)) == {"better"}
        twice = recorded.model_copy(update={"results": [result, *results]})
        assert any(result.metric in name for name in bad(compare(twice, again)))
    moved = recorded.model_copy(update={"results": results[::-1]})
    assert bad(compare(moved, again)) == {"figures"}
    none = recorded.model_copy(update={"results": []})
    lost = set(map(figure_of, bad(compare(none, again))))
    assert {result.metric for result in results} <= lost


@pytest.mark.parametrize("name", ["curves", "labels_seen", "judge", "change", "terms"])
def test_a_table_that_was_removed_is_noticed(recorded, again, name):
    empty = Evaluation(results=[]).model_dump()[name]
    lost = recorded.model_copy(update={name: empty})
    assert bad(compare(lost, again)) == {"threshold_curve" if name == "curves" else name}


def test_models_and_networks_that_are_not_here_are_named_and_excuse_nothing_else(
    run, recorded, again
):
    def without(value: Any) -> Any:
        if isinstance(value, dict):
            return {n: without(v) for n, v in value.items() if n != "retrained"}
        return [without(v) for v in value] if isinstance(value, list) else value

    alone = Evaluation.model_validate(without(again.evaluation.model_dump(mode="json")))
    here = Again(evaluation=alone, missing={"retrained": "it is not here"})
    checks = compare(recorded, here)
    assert not bad(checks)
    skipped = {figure_of(check.subject) for check in checks if not check.looked}
    others = {"labels_seen: retrained", "threshold_curve: retrained"}
    assert skipped == {f"{result.metric}: retrained" for result in recorded.results} | others
    forgery = forged(recorded, {("results", 0, "baseline", "value"): 0.5})
    assert bad(compare(forgery, here)) == {recorded.results[0].metric}
    assert bad(compare(recorded, Again(evaluation=alone, missing={}))) >= {"labels_seen"}


def test_a_network_that_is_not_here_excuses_its_own_figures_alone(recorded, again):
    other = recorded.results[0].model_copy(update={"extractor": {"name": "x", "sha256": "00"}})
    more = recorded.model_copy(update={"results": [*recorded.results, other]})
    here = Again(evaluation=again.evaluation, missing={"clip": "the clip is not here."})
    checks = compare(more, here)
    assert not bad(checks)
    (skipped,) = [check for check in checks if not check.looked]
    assert "(x)" in skipped.subject and "the clip is not here" in skipped.text
    assert bad(compare(more, again)) == {skipped.subject}
    own = renamed(recorded.results[0], "made_up")
    made_up = recorded.model_copy(update={"results": [*recorded.results, own]})
    assert bad(compare(made_up, here)) == {"made_up"}


def test_a_copy_of_a_network_under_another_name_is_the_same_network(recorded, again):
    text = recorded.model_dump_json()
    name = (recorded.results[0].extractor or {})["name"]
    copied = Evaluation.model_validate_json(text.replace(name, "a copy"))
    assert not bad(compare(copied, again))


def test_every_forged_entry_of_a_forgotten_image_is_noticed(image_run, tmp_path):
    recorded = read_evaluation(image_run)
    model = image_run / "pipeline"
    again = remeasure(read_record(image_run), recorded, tmp_path, model, Given())
    assert not bad(compare(recorded, again))
    (first, second) = recorded.images
    assert bad(compare(recorded.model_copy(update={"images": [first]}), again))
    key = ("image", f"image {first.name}", 1)
    then, now = parts_of(recorded)[key], parts_of(again.evaluation)[key]
    changes: dict[tuple[str, ...], Any] = {}
    for place, value in then.values.items():
        if isinstance(value, str):
            changes[place] = f"{value}."
        else:
            forgery = value + (2.01 * tolerance(now, place) or 1)
            changes[place] = math.ceil(forgery) if isinstance(value, int) else forgery
    assert differing(forge(then, changes), now) == sorted(then.values)


def test_nothing_in_a_pack_widens_a_tolerance(recorded, again):
    fd = next(i for i, r in enumerate(recorded.results) if r.metric == "fd")
    result = recorded.results[fd]
    changes: dict[Place, Any] = {
        ("results", fd, "value"): result.value * 2,
        ("results", fd, "high"): result.high * 1e6,
        ("results", fd, "samples"): 1,
    }
    checks = compare(forged(recorded, changes), again)
    (check,) = [check for check in checks if not check.good]
    assert all(f"{name}: recorded" in check.text for name in ("value", "high", "samples"))


@pytest.fixture
def sheet(image_run: Path) -> Path:
    return image_run / "samples" / "after.png"


def as_png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def test_a_sheet_of_other_samples_is_noticed(sheet):
    image = Image.open(sheet)
    assert compare_images("after", sheet.read_bytes(), sheet).good
    forged = image.copy()
    forged.paste(image.crop((0, 0, 8, 8)), (8, 8))  # one sample of many
    contents = as_png(forged), as_png(image.crop((0, 0, 8, 8))), b"no image"
    for content in (*contents, sheet.read_bytes()[:-50]):
        assert not compare_images("after", content, sheet).good
    assert not compare_images("after", contents[0], sheet.with_name("gone.png")).looked
