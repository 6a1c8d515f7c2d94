"""Groups of prompts: read from TOML and JSON, refused with one sentence before any sampling."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from efface.errors import ConfigError, DataError
from efface.requests.concept.prompt_groups import (
    PromptGroup,
    digest_groups,
    read_prompt_groups,
)
from efface.requests.concept.settings import ConceptSettings
from efface.settings.evaluate import EvaluateSettings

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
PHRASES = ("bag", "coat")
CLIP = EvaluateSettings(clip="somewhere")


def read(
    folder: Path,
    text: str,
    evaluate: EvaluateSettings = CLIP,
    phrases: tuple[str, str] | None = PHRASES,
    name: str = "groups.toml",
) -> tuple[PromptGroup, ...]:
    (folder / name).write_text(text)
    config = ConceptSettings(templates=("a {}", "one {}"), prompt_groups=str(folder / name))
    return read_prompt_groups(config, evaluate, phrases)


def as_json(**group: Any) -> str:
    return json.dumps({"groups": [{"name": "g", "prompts": ["x"]} | group]})


@pytest.fixture
def by_detector(brightness: Path) -> EvaluateSettings:
    return EvaluateSettings(detector=str(brightness), detector_labels=("bag",))


def test_words_follow_prompts_in_every_template_without_duplicates(tmp_path):
    purse, coat = read(tmp_path, GROUPS)
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
    one, other = read(tmp_path, GROUPS), read(tmp_path, json.dumps(as_json), name="groups.json")
    assert one == other and digest_groups(one) == digest_groups(other)
    assert digest_groups(one) != digest_groups(one[:1])


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "groups.toml does not hold prompt groups alone"),
        ("groups = [1]", "group 1 of .* is not a table"),
        ("[[groups]", "groups.toml is not readable TOML"),
        ('[[groups]]\nname = "a"\nkind = "own"', "'a' has no prompts"),
        ('[[groups]]\nname = "a"\nkind = "cousin"\nprompts = ["x"]', r"groups\[1\].kind is"),
        ('[[groups]]\nname = "a"\nkind = "own"\nprompt = ["x"]', "Did you mean .*prompts"),
        ('[[groups]]\nname = "a"\nkind = "own"\nprompts = [" "]', "'a' holds an empty text"),
        ('[[groups]]\nname = "<b>"\nkind = "own"\nprompts = ["x"]', "is named '<b>'"),
        ('[[groups]]\nname = "a"\nkind = "neighbour"\nprompts = ["x"]', "'a' has no labels"),
        (GROUPS + GROUPS, "two groups 'purse'"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(tmp_path, text, named):
    with pytest.raises(ConfigError, match=named):
        read(tmp_path, text)


def test_a_label_in_another_spelling_is_the_concept(tmp_path):
    (group,) = read(tmp_path, as_json(kind="composition", labels=["BAG "]), name="g.JSON")
    assert group.labels == ()
    with pytest.raises(ConfigError, match="'g' has labels of the concept among others"):
        read(tmp_path, as_json(kind="neighbour", labels=["Bag"]), name="g.json")


def test_deep_nesting_is_no_group(tmp_path):
    with pytest.raises(ConfigError, match="is not readable JSON"):
        read(tmp_path, "[" * 100_000, name="g.json")


def test_a_missing_file_is_named(tmp_path):
    config = ConceptSettings(prompt_groups=str(tmp_path / "none.toml"))
    with pytest.raises(ConfigError, match="no prompt groups at .*none.toml"):
        read_prompt_groups(config, CLIP, PHRASES)


def test_labels_of_the_concept_mean_the_concept(tmp_path, by_detector):
    (group,) = read(
        tmp_path, as_json(kind="composition", labels=["bag"]), by_detector, name="g.json"
    )
    assert group == PromptGroup(name="g", kind="composition", prompts=("x",))


@pytest.mark.parametrize(
    ("kind", "labels", "named"),
    [
        ("paraphrase", ["hat"], "the group 'g' names 'hat'.*'bag', 'coat'"),
        ("neighbour", ["bag"], "'g' has labels of the concept among others"),
        ("composition", ["bag", "coat"], "'g' has labels of the concept among others"),
    ],
)
def test_labels_that_give_no_rate_are_refused(tmp_path, by_detector, kind, labels, named):
    with pytest.raises(ConfigError, match=named):
        read(tmp_path, as_json(kind=kind, labels=labels), by_detector, name="g.json")


def test_labels_that_the_detector_lacks_and_another_detector_are_refused(brightness):
    config = ConceptSettings()
    others = EvaluateSettings(detector=str(brightness), detector_labels=("hat",))
    with pytest.raises(ConfigError, match=r"evaluate.detector_labels names 'hat'.*'bag', 'coat'"):
        read_prompt_groups(config, others, PHRASES)
    pinned = EvaluateSettings(detector=f"{brightness}@sha256:{'0' * 64}", detector_labels=("bag",))
    with pytest.raises(DataError, match="checksum"):
        read_prompt_groups(config, pinned, PHRASES)


def test_groups_need_a_network(tmp_path):
    with pytest.raises(ConfigError, match="set evaluate.detector .* or evaluate.clip"):
        read(tmp_path, GROUPS, EvaluateSettings())


def test_a_clip_needs_one_text_and_a_replaced_phrase(tmp_path):
    assert [group.name for group in read(tmp_path, GROUPS)] == ["purse", "coat"]
    with pytest.raises(ConfigError, match="set evaluate.detector .* where a phrase was replaced"):
        read(tmp_path, GROUPS, phrases=None)
    two = GROUPS.replace('labels = ["coat"]', 'labels = ["coat", "jacket"]')
    with pytest.raises(ConfigError, match="'coat' has several labels"):
        read(tmp_path, two)
