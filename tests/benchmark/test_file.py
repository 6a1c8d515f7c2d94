"""Mistakes in a benchmark's file are refused in one sentence, before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from efface.benchmark.file import check_apart, named, read_asked, read_file, seed_changes
from efface.errors import ConfigError, EffaceError
from efface.requests.classes.request import ForgetClass
from efface.requests.concept.request import ForgetConcept
from efface.runs.plan import settings_of
from tests.benchmark.conftest import HEAD, SHORT, WHOLE

File = Callable[[str], Path]


def test_a_file_is_read(file: File) -> None:
    found = read_file(file(WHOLE))
    one_step, redirection = found.method
    assert (one_step.name, one_step.method_name, one_step.values) == ("one step", "sfd", (None,))
    assert redirection.method_name == "redirection" and redirection.values == (0.5, 0.25)
    assert redirection.chosen(0.25) == ["method.forget_weight=0.25"]
    assert [asked.request for asked in found.asked] == [ForgetClass(labels=(2,), replacement=(7,))]
    assert found.selected[0].request.describe() == "label 5"


def test_settings_of_a_row_go_before_those_of_all(file: File) -> None:
    found = read_file(file(SHORT + 'set = ["train.steps=3"]'))
    changes = found.changes(found.method[0])
    assert changes[0] == "evaluate.forget_samples=10"
    assert changes.index("train.steps=2") < changes.index("train.steps=3")


def test_a_row_has_the_settings_of_the_published_script(file: File) -> None:
    rows = "[[method]]\nname = 'salun'\nas_published = true\nset = ['train.steps=7']\n"
    found = read_file(file(HEAD + rows))
    settings = settings_of(ForgetClass, None, "salun", None, found.changes(found.method[0]))
    assert (settings.train.steps, settings.train.batch_size) == (7, 128)
    assert settings.method.retain_weight == 3.07  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ConfigError, match="no published settings of 'redirection'"):
        read_file(file(SHORT + "as_published = true\n"))


def test_seeds_are_evaluated_on_samples_of_their_own() -> None:
    assert seed_changes(2) == ["train.seed=2", "evaluate.seed=21000"]


REFUSED = {
    "bench.colour is unknown": SHORT.replace("seeds", "colour = 1\nseeds"),
    "bench.seeds": SHORT.replace("[10]", "[]"),
    "bench.seeds.0 is -1": SHORT.replace("[10]", "[-1]"),
    "bench.method is missing": HEAD,
    "bench.forwards is 0": SHORT.replace("seeds", "forwards = 0\nseeds"),
    "two seeds are 10": SHORT.replace("[10]", "[10, 10]"),
    "two requests are": SHORT + HEAD.partition("guidance = 1.0")[2],
    "two rows are called 'untouched'": SHORT.replace("'redirection'", "'untouched'"),
    "a strength to choose": WHOLE.partition("[selection]")[0],
    "seed 10 is both reported and selected on": WHOLE.replace("[100]", "[10]"),
    "label 2 of the selection": WHOLE.replace("labels = [5]", "labels = [2]"),
    "train.steps cannot be set here: steps are made": SHORT.replace("seeds", "forwards=9\nseeds"),
    "train.seed cannot be set here": SHORT + 'set = ["train.seed=3"]',
    "evaluate.seed cannot be set here": SHORT.replace("guidance", "seed = 1\nguidance"),
    "no effect without attacks": SHORT + "[relearning]\nsamples = 3",
    "the kind of a request is 'distil'": SHORT.replace('"class"', '"distil"'),
    "request.labels is missing": SHORT.replace("labels = [2]", ""),
    "row 'redirection': evaluate.steps is unknown": SHORT.replace("baseline_steps", "steps"),
    "row 'redirection': no recipe at": SHORT + "recipe = 'nowhere'",
    "is not readable TOML": "model =",
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_a_mistake_is_refused(file: File, sentence: str) -> None:
    with pytest.raises(EffaceError) as refused:
        read_file(file(REFUSED[sentence]))
    assert sentence in str(refused.value) and "\n" not in str(refused.value).strip()


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not readable"):
        read_file(tmp_path / "none.toml")


def test_requests_are_apart_unless_they_forget_something_in_common() -> None:
    two = ForgetClass(labels=(2, 3), replacement=(7,))
    check_apart(two, ForgetClass(labels=(4,), replacement=(7,)))
    check_apart(two, ForgetConcept(concept="2", replacement="coat"))
    with pytest.raises(ConfigError, match="in common"):
        check_apart(two, ForgetClass(labels=(3,), replacement=(8,)))


def test_a_retrained_model_is_no_field_of_the_request() -> None:
    table = {"kind": "class", "labels": [1], "retrained": "zoo:digits-retrained"}
    asked = read_asked(table)
    assert asked.retrained == "zoo:digits-retrained" and asked.request == ForgetClass(labels=(1,))
    with pytest.raises(EffaceError, match="retrained is 3"):
        read_asked(table | {"retrained": 3})


def test_an_error_names_its_row_and_keeps_its_kind() -> None:
    with pytest.raises(ConfigError, match="row 'a': lost"), named("a"):
        raise ConfigError("lost")
