"""Groups of prompts: read from TOML and JSON, refused with one sentence before any drawing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from efface.errors import ConfigError, DataError
from efface.requests.concept.prompt_groups import (
    PromptGroup,
    check_detection,
    digest_groups,
    read_prompt_groups,
)
from efface.settings.reading import Settings, read_settings
from tests.metrics.detectors import MULTI, make_brightness

TEMPLATES = ("a {}", "one {}")
GROUPS = """
[[groups]]
name = "purse"
kind = "paraphrase"
prompts = ["my purse"]
words = ["purse", "tote"]

[[groups]]
name = "coat"
kind = "neighbour"
prompts = ["a coat", "a coat"]
labels = ["coat"]
"""
CONCEPT = {"kind": "concept", "concept": "bag", "replacement": "coat", "digest": ""}


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_brightness(tmp_path_factory.mktemp("detector"), MULTI)


def written(folder: Path, text: str, name: str = "groups.toml") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def settings(detector: Path | None, groups: str | None, **more: Any) -> Settings:
    given: dict[str, Any] = {"prompt_groups": groups} | more
    if detector is not None:
        given = {"detector": str(detector), "detector_labels": ["bag"]} | given
    changes = [f"evaluate.{k}={json.dumps(v)}" for k, v in given.items() if v is not None]
    return read_settings("sfd", None, changes)


def test_words_come_behind_prompts_in_every_template_and_nothing_twice(tmp_path):
    purse, coat = read_prompt_groups(written(tmp_path, GROUPS), TEMPLATES)
    assert purse.prompts == ("my purse", "a purse", "one purse", "a tote", "one tote")
    assert coat.prompts == ("a coat",) and coat.labels == ("coat",)
    assert purse.metric == "concept_rate/paraphrase/purse"


def test_json_and_toml_say_the_same(tmp_path):
    as_json = {
        "groups": [
            {"name": "purse", "kind": "paraphrase", "prompts": ["my purse"],
             "words": ["purse", "tote"]},
            {"name": "coat", "kind": "neighbour", "prompts": ["a coat"], "labels": ["coat"]},
        ]
    }  # fmt: skip
    one = read_prompt_groups(written(tmp_path, GROUPS), TEMPLATES)
    other = read_prompt_groups(written(tmp_path, json.dumps(as_json), "groups.json"), TEMPLATES)
    assert one == other and digest_groups(one) == digest_groups(other)
    assert digest_groups(one) != digest_groups(one[:1])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "holds other things than groups of prompts, or none"),
        ("groups = [1]", "group 1 of .* is no table"),
        ("[[groups]", "is no readable TOML"),
        ('[[groups]]\nname = "a"\nkind = "own"', "'a' has no prompts"),
        ('[[groups]]\nname = "a"\nkind = "cousin"\nprompts = ["x"]', r"groups\[1\].kind is"),
        ('[[groups]]\nname = "a"\nkind = "own"\nprompt = ["x"]', "Did you mean .*prompts"),
        ('[[groups]]\nname = "a"\nkind = "own"\nprompts = [" "]', "holds an empty text"),
        ('[[groups]]\nname = "<b>"\nkind = "own"\nprompts = ["x"]', "is named '<b>'"),
        ('[[groups]]\nname = "a"\nkind = "neighbour"\nprompts = ["x"]', "has no labels"),
        (GROUPS + GROUPS, "two groups 'purse'"),
    ],
)
def test_a_file_that_is_not_understood_is_refused(tmp_path, text, sentence):
    with pytest.raises(ConfigError, match=sentence):
        read_prompt_groups(written(tmp_path, text), TEMPLATES)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="no groups of prompts at .*none.toml"):
        read_prompt_groups(str(tmp_path / "none.toml"), TEMPLATES)


def test_labels_of_the_concept_mean_the_concept(tmp_path, detector):
    text = '[[groups]]\nname = "both"\nkind = "composition"\nprompts = ["x"]\nlabels = ["bag"]'
    (group,) = check_detection(settings(detector, written(tmp_path, text)), CONCEPT)
    assert group == PromptGroup(name="both", kind="composition", prompts=("x",))


@pytest.mark.parametrize(
    ("kind", "labels", "sentence"),
    [
        ("paraphrase", ["hat"], "the group 'g' names 'hat', which the detector does not know"),
        ("neighbour", ["bag"], "'g' looks for labels of the concept among others"),
        ("composition", ["bag", "coat"], "'g' looks for labels of the concept among others"),
    ],
)
def test_labels_that_a_rate_could_not_be_read_from_are_refused(
    tmp_path, detector, kind, labels, sentence
):
    text = json.dumps({"groups": [{"name": "g", "kind": kind, "prompts": ["x"], "labels": labels}]})
    with pytest.raises(ConfigError, match=sentence):
        check_detection(settings(detector, written(tmp_path, text, "g.json")), CONCEPT)


def test_unknown_labels_and_wrong_requests_are_refused_before_anything_is_loaded(
    tmp_path, detector
):
    groups = written(tmp_path, GROUPS)
    with pytest.raises(ConfigError, match=r"evaluate.detector_labels names 'hat'.*'bag', 'coat'"):
        check_detection(settings(detector, None, detector_labels=["hat"]), CONCEPT)
    with pytest.raises(DataError, match="has the checksum"):
        check_detection(settings(detector, None, detector_sha256="00"), CONCEPT)
    for kind, sentence in (
        ("images", "detector is for classes and concepts, and this run forgets pictures"),
        ("memorised", "detector is for classes and concepts, and this run forgets a memorised"),
        ("class", "groups is for text"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            check_detection(settings(detector, groups), {"kind": kind})


def test_a_clip_needs_one_text_and_a_replaced_phrase(tmp_path):
    by_clip = settings(None, written(tmp_path, GROUPS), clip="somewhere")
    assert [group.name for group in check_detection(by_clip, CONCEPT)] == ["purse", "coat"]
    with pytest.raises(ConfigError, match="only where a phrase was replaced"):
        check_detection(by_clip, CONCEPT | {"replacement": None})
    two = GROUPS.replace('labels = ["coat"]', 'labels = ["coat", "jacket"]')
    by_clip = settings(None, written(tmp_path, two), clip="somewhere")
    with pytest.raises(ConfigError, match="'coat' has several labels, and a CLIP looks for one"):
        check_detection(by_clip, CONCEPT)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"detector_labels": ["bag"]}, "of no use alone"),
        ({"detector": "somewhere"}, "detector_labels is empty"),
        ({"detector": "nudenet", "detector_threshold": 1.0}, "from 0 to below 1"),
        ({"prompt_groups": "x.toml"}, "needs a network that looks"),
        ({"group_samples": 0}, "a number above 0"),
    ],
)
def test_settings_that_make_no_sense_together_are_refused(given, sentence):
    changes = [f"evaluate.{name}={json.dumps(value)}" for name, value in given.items()]
    with pytest.raises(ConfigError, match=sentence):
        read_settings("sfd", None, changes)
