"""A setting that changes nothing of a run is refused, whatever the run forgot."""

from __future__ import annotations

import dataclasses

import pytest

from efface.errors import ConfigError
from efface.records import RunRecord
from efface.requests.memorised.settings import MemorisedConfig
from efface.settings.reading import EvaluateConfig, ImagesConfig, PromptsConfig, read_settings
from efface.settings.recorded import ATTACKED, MEASURED, measured_settings

SECTIONS = {
    "evaluate": EvaluateConfig,
    "images": ImagesConfig,
    "prompts": PromptsConfig,
    "memorised": MemorisedConfig,
}
REQUESTS = {
    "class": {"kind": "class", "labels": [0]},
    "prompts": {"kind": "concept", "concept": "bag"},
    "images": {"kind": "images"},
    "memorised": {"kind": "memorised", "prompt": "a red bag"},
}


def record(request: dict[str, object]) -> RunRecord:
    return RunRecord(
        status="finished",
        request=request,
        model={},
        settings=read_settings("sfd").to_json(),
        versions={},
        hardware={},
        started="2026-01-01T00:00:00",
    )


@pytest.mark.parametrize("table", [MEASURED, ATTACKED], ids=["measured", "attacked"])
def test_every_name_in_the_table_is_a_setting(table) -> None:
    assert table.keys() == REQUESTS.keys()
    for read in table.values():
        for section, names in read.items():
            assert names <= {field.name for field in dataclasses.fields(SECTIONS[section])}


@pytest.mark.parametrize(
    ("kind", "change", "sentence"),
    [
        ("class", "evaluate.samples=2", "evaluate an evaluation of a run about a class-cond"),
        ("class", "evaluate.group_samples=2", "reads baseline_steps, batch_size, clip"),
        ("class", "prompts.retain=3", "takes evaluate.NAME, images.NAME"),
        ("class", "memorised.samples=3", "changes nothing of what was made"),
        ("class", "images.generate=3", "of images an evaluation"),
        ("prompts", "evaluate.draws=2", "a run about prompts reads"),
        ("prompts", "images.near_duplicate=0.1", "a run about prompts reads mean_pool, resize"),
        ("images", "evaluate.forget_samples=2", "a run about pictures reads"),
        ("images", "evaluate.guidance=7", "a run about pictures reads"),
        ("images", "evaluate.detector='nudenet'", "a run about pictures reads"),
        ("memorised", "evaluate.forget_samples=2", "a run about a memorised picture reads"),
        ("memorised", "memorised.tries=2", "of memorised an evaluation"),
        ("class", "train.steps=3", "changes nothing of what was made"),
    ],
)
def test_what_has_no_effect_is_refused(kind: str, change: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        measured_settings(record(REQUESTS[kind]), [change])


def test_what_is_read_is_taken_and_an_attack_reads_less() -> None:
    for kind, request in REQUESTS.items():
        settings = measured_settings(record(request), ["evaluate.baseline_steps=7"])
        assert settings.evaluate.baseline_steps == 7
        with pytest.raises(ConfigError, match="of evaluate an attack of a run about"):
            measured_settings(record(request), ["evaluate.batch_size=7"], ATTACKED)
        assert measured_settings(record(request), ["evaluate.baseline_steps=7"], ATTACKED), kind


def test_a_distilled_run_is_about_labels_or_about_prompts() -> None:
    groups = ["evaluate.group_samples=3"]
    with pytest.raises(ConfigError, match="about a class-conditional model"):
        measured_settings(record({"kind": "distil"}), groups)
    text = {"kind": "distil", "retain_prompts": None}
    assert measured_settings(record(text), groups).evaluate.group_samples == 3


def test_a_name_that_does_not_exist_is_said_to_be_unknown() -> None:
    with pytest.raises(ConfigError, match="Did you mean evaluate.samples"):
        measured_settings(record(REQUESTS["class"]), ["evaluate.sample=3"])
