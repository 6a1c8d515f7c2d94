"""Prompts take turns, and every set of samples has seeds of its own."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from efface.data.batch import in_turn
from efface.evaluation.views import ClipView
from efface.metrics.clip import load_clip
from efface.requests.concept.finding import ClipFinder
from efface.requests.concept.prompt_groups import PromptGroup
from efface.requests.concept.prompts import ConceptPrompts
from efface.requests.concept.protocol import ConceptProtocol
from efface.settings.evaluate import EvaluateSettings

PROMPTS = ConceptPrompts(
    forget=("a bag", "one bag"), targets=("a coat", "one coat"), retain=("a cat", "a dog", "a cup")
)
GROUP = PromptGroup(name="purse", kind="paraphrase", prompts=("a purse", "a tote"))
CONFIG = EvaluateSettings(forget_samples=11, retain_samples=10, seed=7)


@pytest.fixture
def protocol() -> ConceptProtocol:
    return ConceptProtocol(
        views={}, prompts=PROMPTS, config=CONFIG, groups=(GROUP,), group_samples=5
    )


def test_no_prompt_has_two_samples_more_than_another(protocol: ConceptProtocol) -> None:
    for sampled in (
        protocol.sampled("forget"), protocol.sampled("retain"), protocol.sampled_group(GROUP)
    ):  # fmt: skip
        counts = {sampled.count(prompt) for prompt in sampled}
        assert max(counts) - min(counts) <= 1
    assert protocol.sampled("retain")[:4] == ["a cat", "a dog", "a cup", "a cat"]


def test_no_seed_is_used_in_two_sets(protocol: ConceptProtocol) -> None:
    seeds = [*protocol.seeds("forget"), *protocol.seeds("retain"), *protocol.group_seeds()]
    assert seeds == list(range(7, 7 + 11 + 10 + 5))


def test_a_clip_chooses_between_a_prompt_and_its_target_or_the_two_phrases(
    protocol: ConceptProtocol, clip_folder: Path
) -> None:
    views = {"clip": ClipView(clip=load_clip(clip_folder))}
    for phrases in (None, ("bag", "coat")):
        finder = dataclasses.replace(protocol, views=views, phrases=phrases).finders["clip"]
        assert isinstance(finder, ClipFinder) and finder.phrases == phrases
        own = [("a bag", "a coat"), ("one bag", "one coat")] if phrases is None else [phrases]
        assert finder.pairs == in_turn(own, len(finder.pairs)) and len(finder.pairs) == 11


def test_terms_change_with_what_they_name_alone(protocol: ConceptProtocol) -> None:
    own = protocol.terms()
    fewer = dataclasses.replace(PROMPTS, retain=PROMPTS.retain[:2])
    for change, name in (
        ({"prompts": fewer}, "retained prompts"),
        ({"groups": ()}, "prompt groups"),
    ):
        other = dataclasses.replace(protocol, **change).terms()
        assert {key for key in own if own[key] != other[key]} == {name}
