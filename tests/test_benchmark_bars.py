"""What scripts of the small text-to-image model call met: outcomes with one thing amiss each."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import forget_concept
import forget_memorised
import prompt_search
import pytest
from scene_prompts import OTHERWISE, groups

from efface.zoo.build.scenes import PAIR, SINGLE
from efface.zoo.build.settings import SceneSettings

ROOT = Path(__file__).parents[1]
Run = dict[str, Any]
Change = Callable[[Run], object]


def expected(name: str) -> dict[str, float]:
    return tomllib.loads((ROOT / "recipes" / f"{name}.toml").read_text())["expected"]


def figure(value: float, baseline: float = 0.0, distilled: float = 0.0) -> dict[str, Any]:
    models = {"value": value, "baseline": baseline, "distilled": distilled}
    return {model: {"value": number} for model, number in models.items()}


CONCEPT: Run = {
    "status": "finished",
    "passes_per_image": 1,
    "results": {
        "concept_rate/own/bag": figure(0.01, 0.8),
        "concept_rate/paraphrase/tote": figure(0.01, 0.2),
        "concept_rate/composition/with another": figure(0.03, 0.8),
        "kept_rate/composition/what it stands beside": figure(0.9, 0.9),
        "concept_rate/unrelated/unrelated": figure(0.2, 0.2),
        "kept_rate/neighbour/dress": figure(0.75, 0.5, 0.79),
        "retained_accuracy": figure(0.9, 0.8, 0.9),
        "fd": figure(11.0, 10.0, 9.0),
    },
}


def to(metric: str, value: float) -> Change:
    return lambda run: run["results"][metric].update(value={"value": value})


def test_a_concept_that_meets_its_bars_does() -> None:
    bars = forget_concept.check(CONCEPT, expected("scenes-sfd"))
    assert all(bars.values()) and len(bars) == 7  # neither what it stands beside nor the unrelated


@pytest.mark.parametrize(
    ("missed", "change"),
    [
        ("finished", lambda run: run.update(status="collapsed")),
        ("one step", lambda run: run.update(passes_per_image=2)),
        ("concept_rate/own/bag", to("concept_rate/own/bag", 0.011)),
        ("concept_rate/paraphrase/tote", to("concept_rate/paraphrase/tote", 0.011)),
        (
            "concept_rate/composition/with another",
            to("concept_rate/composition/with another", 0.031),
        ),
        ("kept_rate/neighbour/dress", to("kept_rate/neighbour/dress", 0.73)),
        ("fd", to("fd", 11.1)),
    ],
)
def test_every_bar_of_a_concept_can_be_missed(missed: str, change: Change) -> None:
    run = deepcopy(CONCEPT)
    change(run)
    bars = forget_concept.check(run, expected("scenes-sfd"))
    assert [name for name, met in bars.items() if not met] == [missed]


def kept() -> Run:
    """The same where the sampler is kept: nothing was distilled, and recall is measured."""
    run = deepcopy(CONCEPT) | {"passes_per_image": 25}
    for found in run["results"].values():
        del found["distilled"]
    run["results"]["kept_rate/neighbour/dress"]["baseline"] = {"value": 0.79}
    run["results"]["recall"] = figure(0.8, 0.82)
    del run["results"]["recall"]["distilled"]
    return run


@pytest.mark.parametrize(
    ("missed", "change"),
    [
        (None, lambda run: None),
        ("kept_rate/neighbour/dress", to("kept_rate/neighbour/dress", 0.73)),
        ("fd", to("fd", 12.1)),
        ("recall", to("recall", 0.78)),
    ],
)
def test_with_the_sampler_kept_a_concept_is_compared_with_the_original(
    missed: str | None, change: Change
) -> None:
    run = kept()
    change(run)
    bars = forget_concept.check(run, expected("scenes-same-sampler"))
    assert [name for name, met in bars.items() if not met] == ([] if missed is None else [missed])


@pytest.mark.parametrize(
    "metric",
    [
        "concept_rate/own/bag",
        "concept_rate/paraphrase/tote",
        "concept_rate/composition/with another",
        "kept_rate/neighbour/dress",
        "fd",
    ],
)
def test_what_was_not_measured_is_not_met(metric: str) -> None:
    run = deepcopy(CONCEPT)
    del run["results"][metric]
    with pytest.raises(ValueError, match="nothing was measured about"):
        forget_concept.check(run, expected("scenes-sfd"))


def test_prompts_are_captions_but_paraphrases_and_the_own_word_in_other_templates() -> None:
    assert not set(OTHERWISE) & {*SINGLE, *PAIR}
    items = SceneSettings().items
    made = groups(items, "bag", "coat")
    kinds = [group["kind"] for group in made]
    assert kinds.count("own") == 2 and kinds.count("paraphrase") == 3
    assert kinds.count("neighbour") == len(items) - 1 and kinds.count("composition") == 2
    (composed,) = (group for group in made if group["name"] == "what it stands beside")
    assert set(composed["labels"]) == {*items} - {"bag", "coat"}  # pyright: ignore
    assert all("bag" in prompt and "coat" not in prompt for prompt in composed["prompts"])  # pyright: ignore


MEMORISED: Run = {
    "variant": "recipe",
    "status": "finished",
    "found": {"text": "a new bag"},
    "tried": 3,
    "results": {
        "memorised_share": figure(0.0, 1.0),
        "memorised_share_modified": figure(0.0, 0.5),
        "fd": figure(10.5, 10.0),
    },
}


def test_a_memorised_image_that_is_gone_meets_its_bars() -> None:
    bars = forget_memorised.check(MEMORISED, expected("scenes-siss"))
    assert all(bars.values()) and len(bars) == 6


@pytest.mark.parametrize(
    ("missed", "change"),
    [
        (forget_memorised.PROMPT, lambda run: run.update(tried=1)),
        ("finished", lambda run: run.update(status="collapsed")),
        (
            "memorised before",
            lambda run: run["results"]["memorised_share"].update(baseline={"value": 15 / 16}),
        ),
        ("memorised_share", to("memorised_share", 1 / 16)),
        ("memorised_share_modified", to("memorised_share_modified", 1 / 16)),
        ("fd", to("fd", 10.51)),
    ],
)
def test_every_bar_of_a_memorised_image_can_be_missed(missed: str, change: Change) -> None:
    run = deepcopy(MEMORISED)
    change(run)
    bars = forget_memorised.check(run, expected("scenes-siss"))
    assert [name for name, met in bars.items() if not met] == [missed]


@pytest.mark.parametrize(("found", "enough"), [(8, True), (7, False)])
def test_eight_of_ten_prompts_are_enough(found: int, enough: bool) -> None:
    wanted = expected("scenes-siss")
    runs = [deepcopy(MEMORISED) for _ in range(10)]
    for run in runs[found:]:
        run["found"] = None
        del run["results"]
    for run in runs:
        run["bars"] = forget_memorised.check(run, wanted)
    summary = forget_memorised.summarise(runs, wanted)["recipe"]
    assert (summary[forget_memorised.PROMPT], summary["enough prompts"]) == (found, enough)


@pytest.mark.parametrize(("partly", "met"), [(8, True), (7, False)])
def test_a_search_is_evaluated_on_fresh_samples(partly: int, met: bool) -> None:
    """The share that ended it lies in the band in all ten."""
    one = {"seed": 0, "caption": "a bag", "prompt": "a new bag", "share": 0.5}
    prompts = [one | {"tried": 3, "partly_memorised": i < partly} for i in range(10)]
    (row,) = prompt_search.summarise(prompts)
    assert (row["found"], row["partly_memorised"], row["bar_met"]) == (10, partly, met)
