"""Jobs are named by everything that their figures depend on, and measured alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from efface.benchmark.file import read_file
from efface.benchmark.rows import Job, plan_jobs
from efface.errors import ConfigError, EffaceError
from tests.benchmark.conftest import SHORT, WHOLE

File = Callable[[str], Path]


@pytest.fixture
def planned(file: File) -> Callable[[str], list[Job]]:
    return lambda text: plan_jobs(read_file(file(text)))


def test_every_value_of_a_strength_has_its_jobs(planned: Callable[[str], list[Job]]) -> None:
    jobs = planned(WHOLE)
    kinds = [(job.row, job.value, job.selection, job.seed) for job in jobs]
    assert kinds == [
        ("untouched", None, False, 10),
        ("retrained", None, False, 10),
        ("one step", None, False, 10),
        ("redirection", 0.5, False, 10),
        ("redirection", 0.5, True, 100),
        ("redirection", 0.25, False, 10),
        ("redirection", 0.25, True, 100),
    ]
    assert jobs[0].folder == jobs[1].folder  # the retrained model is the original one here
    assert len({job.folder for job in jobs}) == len(jobs) - 1
    assert {job.settings["evaluate"]["seed"] for job in jobs} == {101_000, 1_001_000}


@pytest.mark.parametrize(
    ("text", "same"),
    [
        (SHORT, True),
        (SHORT + 'set = ["train.log_every=3"]', True),
        (SHORT + 'set = ["train.learning_rate=3e-3"]', False),
        (SHORT.replace("[10]", "[11]"), False),
        (SHORT.replace("replacement = [7]", "replacement = [8]"), False),
        (SHORT.replace("seeds", "threads = 2\nseeds"), False),
        (SHORT.replace("replacement = [7]", "replacement=[7]\nretrained='zoo:digits'"), False),
    ],
)
def test_a_folder_is_named_by_content(
    planned: Callable[[str], list[Job]], text: str, same: bool
) -> None:
    assert (planned(text)[-1].digest == planned(SHORT)[-1].digest) is same


def test_a_model_as_it_is_does_not_depend_on_training(planned: Callable[[str], list[Job]]) -> None:
    longer = SHORT.replace("train.steps=2", "train.steps=3")
    assert planned(longer)[0].digest == planned(SHORT)[0].digest


def test_a_model_as_it_is_has_no_strength(planned: Callable[[str], list[Job]]) -> None:
    searched, _, rest = WHOLE.partition('[[method]]\nname = "one step"\nmethod = "sfd"\n')
    first = planned(searched + rest)[0]
    assert (first.row, first.value, first.selection) == ("untouched", None, False)


def test_models_that_were_trained_elsewhere_are_rows(planned: Callable[[str], list[Job]]) -> None:
    given = SHORT.replace("replacement = [7]", "replacement = [7]\nretrained = 'zoo:digits'")
    jobs = planned(given + "[[reference]]\nname = 'distilled'\npath = 'zoo:digits'\n")
    assert [job.row for job in jobs] == ["untouched", "retrained", "distilled", "redirection"]
    assert [job.placed for job in jobs] == ["zoo:digits"] * 3 + [None]


def test_a_budget_becomes_steps(planned: Callable[[str], list[Job]]) -> None:
    text = SHORT.replace("seeds", "forwards = 500\nseeds").replace('"train.steps=2", ', "")
    assert planned(text)[-1].steps > 2
    with pytest.raises(ConfigError, match="row 'redirection': a budget of 1 forwards"):
        planned(text.replace("500", "1"))


def test_rows_that_would_be_measured_unequally_are_refused(
    planned: Callable[[str], list[Job]],
) -> None:
    more = "[[method]]\nname = 'sfd'\nset = ['evaluate.retain_samples=27']\n"
    with pytest.raises(ConfigError, match="'redirection' and 'sfd' would be measured with eval"):
        planned(SHORT + more)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (SHORT.replace("'redirection'", "'forgetting'"), "method 'forgetting' is unknown"),
        (SHORT.replace("'redirection'", "'siss'"), "method 'siss' does not work for a request"),
        (SHORT + "set = ['method.weight=1']", "method.weight is unknown"),
        (SHORT.replace("labels = [2]", "labels = [77]"), "label 77"),
        (SHORT + "[[reference]]\nname='a'\npath='zoo:none'", "row 'a': zoo:none"),
    ],
)
def test_what_a_run_would_refuse_is_refused_before_any(
    planned: Callable[[str], list[Job]], text: str, sentence: str
) -> None:
    with pytest.raises(EffaceError) as refused:
        planned(text)
    assert sentence in str(refused.value)
