"""What is forged in an evaluation is noticed: every number, word and figure of a run."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import efface
from efface.evidence.checks import Check
from efface.evidence.compare import Again, Part, compare, parts_of, tolerance
from efface.evidence.networks import Given
from efface.evidence.remeasure import remeasure
from efface.records import Evaluation, Result, read_evaluation, read_record
from tests.evidence.conftest import LABELS, forget

UNMEASURED = {"schema_version", "key", "retrained"}
CHOICES: dict[str | int, tuple[str, ...]] = {
    "side": ("forget", "retain"),
    "better": ("more", "less"),
    "role": ("primary", "context"),
}
Place = tuple[str | int, ...]
Where = tuple[tuple[str, ...], Part]


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


def parts_at(evaluation: Evaluation, places: Iterable[Place]) -> dict[Place, Where]:
    """The part of an evaluation in which each place lies, and the place in it."""
    parts = parts_of(evaluation)
    figures, results = list(parts.values()), len(evaluation.results)
    found: dict[Place, Where] = {}
    for place in places:
        if place[0] in ("results", "curves"):
            number = int(place[1]) + (results if place[0] == "curves" else 0)
            found[place] = tuple(map(str, place[2:])), figures[number]
        else:
            found[place] = tuple(map(str, place[1:])), parts["table", str(place[0]), 1]
    return found


def test_what_was_recorded_here_agrees_with_what_is_measured_here(recorded, again):
    checks = compare(recorded, again)
    assert not bad(checks), checks
    assert all(check.looked for check in checks)
    names = [check.subject for check in checks]
    assert {"unlearning_accuracy", "fd", "labels_seen", "change", "judge", "terms"} <= set(names)


def named(place: tuple[str, ...], part: Part, checks: list[Check]) -> bool:
    """Whether a check of this part names this place as one that differs."""
    texts = [check.text for check in checks if check.subject == part.name and not check.good]
    return any(f"{'.'.join(place)}: recorded" in text for text in texts)


@pytest.mark.parametrize("sign", [1, -1])
def test_every_forged_number_is_noticed_and_named(recorded, again, sign):
    """Each by little more than twice its tolerance; some at once, far from each other."""
    numbers = {p: v for p, v in leaves(measured(recorded)) if type(v) in (int, float)}
    assert len(numbers) > 1500
    parts = parts_at(again.evaluation, numbers)
    stride = len(numbers) // 12
    for start in range(stride):
        changes = {}
        for place in list(numbers)[start::stride]:
            inner, part = parts[place]
            assert part.values[inner] == pytest.approx(numbers[place], rel=1e-6)
            changes[place] = numbers[place] + sign * (2.01 * tolerance(part, inner) or 1)
        checks = compare(forged(recorded, changes), again)
        unnoticed = [place for place in changes if not named(*parts[place], checks)]
        assert not unnoticed


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e308, -1e308])
def test_what_is_no_number_is_no_figure(recorded, again, value):
    place = ("results", 0, "value")
    first = recorded.results[0].metric
    assert first in bad(compare(forged(recorded, {place: value}), again))


def test_every_forged_word_is_noticed(recorded, again):
    words = {p: v for p, v in leaves(measured(recorded)) if isinstance(v, str)}
    renamed = {p for p in words if p[-2:] == ("extractor", "name")}  # a copy has another name
    assert len(words) > 40
    for place, word in words.items():
        other = next((c for c in CHOICES.get(place[-1], ()) if c != word), f"{word}.")
        checks = compare(forged(recorded, {place: other}), again)
        assert bad(checks) or place in renamed, place


def test_a_model_that_is_broken_is_not_called_whole(recorded, again):
    assert bad(compare(forged(recorded, {("broken",): True}), again)) == {"broken"}
    broken = Again(evaluation=Evaluation(results=[], broken=True), missing={})
    assert {"broken", recorded.results[0].metric} <= bad(compare(recorded, broken))


def renamed(result: Result, name: str) -> Result:
    return result.model_copy(update={"spec": result.spec.model_copy(update={"name": name})})


def test_a_figure_that_was_removed_added_doubled_or_moved_is_noticed(recorded, again):
    results = recorded.results
    for i, result in enumerate(results):
        left = recorded.model_copy(update={"results": results[:i] + results[i + 1 :]})
        assert result.metric in bad(compare(left, again))
        better = renamed(result, "better")
        more = recorded.model_copy(update={"results": [*results, better]})
        assert bad(compare(more, again)) == {"better"}
        twice = recorded.model_copy(update={"results": [result, *results]})
        assert any(result.metric in name for name in bad(compare(twice, again)))
    moved = recorded.model_copy(update={"results": results[::-1]})
    assert bad(compare(moved, again)) == {"figures"}
    none = recorded.model_copy(update={"results": []})
    assert {result.metric for result in results} <= bad(compare(none, again))


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
    skipped = {check.subject for check in checks if not check.looked}
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
    for place, value in leaves(first.model_dump(mode="json")):
        part = parts_of(again.evaluation)["image", f"image {first.name}", 1]
        if isinstance(value, str):
            forgery = f"{value}."
        else:
            forgery = value + (2.01 * tolerance(part, tuple(map(str, place))) or 1)
            forgery = math.ceil(forgery) if isinstance(value, int) else forgery
        images = [first.model_copy(update={str(place[0]): forgery}), second]
        assert bad(compare(recorded.model_copy(update={"images": images}), again)), place


def test_nothing_in_a_pack_widens_a_tolerance(recorded, again):
    fd = next(i for i, r in enumerate(recorded.results) if r.metric == "fd")
    result = recorded.results[fd]
    changes: dict[Place, Any] = {
        ("results", fd, "value"): result.value * 2,
        ("results", fd, "high"): result.high * 1e6,
        ("results", fd, "samples"): 1,
    }
    checks = compare(forged(recorded, changes), again)
    ((_, part),) = parts_at(again.evaluation, [("results", fd, "value")]).values()
    assert all(named((name,), part, checks) for name in ("value", "high", "samples"))


def test_the_record_is_what_json_holds(run, recorded):
    """The forgeries above are of all that the file says, but what names it."""
    content = json.loads((run / "evaluation.json").read_text())
    assert content.keys() - UNMEASURED - {"schema"} == measured(recorded).keys()
