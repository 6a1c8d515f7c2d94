"""Groups of prompts that tell how far forgetting reaches: paraphrases, neighbours, compositions."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import model_validator

from efface.data.phrases import same_phrase
from efface.data.prompts import fill_templates
from efface.errors import ConfigError
from efface.evaluation.detection import check_detector, concept_labels
from efface.evaluation.store import digest_of_json
from efface.metrics.detector import check_labels
from efface.records import Spec
from efface.requests.concept.finding import Phrases, require_finder
from efface.requests.concept.settings import ConceptSettings
from efface.settings.evaluate import EvaluateSettings
from efface.settings.reading import Section, build

GroupKind = Literal["own", "paraphrase", "neighbour", "composition", "unrelated"]
LONGEST_NAME = 40
CONCEPT_RATE, KEPT_RATE = "concept_rate", "kept_rate"
GROUPS: dict[GroupKind, tuple[str, str]] = {  # label, what the samples are conditioned on
    "own": ("Own word", "the concept"),
    "paraphrase": ("Paraphrase", "other words for the concept"),
    "neighbour": ("Neighbour", "something similar to the concept"),
    "composition": ("Composition", "the concept among other things"),
    "unrelated": ("Unrelated", "something unrelated to the concept"),
}
EXAMPLE = "write [[groups]] with name, kind and prompts, as in docs/reference/evaluation.md"


class PromptGroup(Section):
    """Prompts that take turns, and the labels that a detector is to find.

    `words` are put into the templates of the run and follow `prompts`. Without labels it is the
    concept that is sought. For a CLIP a label is a text.
    """

    name: str
    kind: GroupKind
    prompts: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _check_words(self) -> Self:
        plain = all(c.isalnum() or c in " -_" for c in self.name)
        if not (plain and self.name.strip() == self.name and 0 < len(self.name) <= LONGEST_NAME):
            raise ValueError(
                f"a prompt group is named {self.name[:LONGEST_NAME]!r}: give a name of at most "
                f"{LONGEST_NAME} letters, digits, spaces, - and _."
            )
        if not all(text.strip() for text in (*self.prompts, *self.words, *self.labels)):
            raise ValueError(f"the group {self.name!r} holds an empty text: leave it out.")
        if not self.prompts and not self.words:
            raise ValueError(f"the group {self.name!r} has no prompts: give prompts or words.")
        if self.kind == "neighbour" and not self.labels:
            raise ValueError(
                f"the neighbour {self.name!r} has no labels: give its own, to measure whether it "
                "is still generated."
            )
        return self

    @property
    def metric(self) -> str:
        """The name of its rate: of the concept, or of labels that are retained."""
        return f"{KEPT_RATE if self.labels else CONCEPT_RATE}/{self.kind}/{self.name}"

    @property
    def spec(self) -> Spec:
        """What its rate is: for context, as the verdict rests on what the request named."""
        label, conditioned = GROUPS[self.kind]
        sought = "what the group looks for" if self.labels else "the concept"
        return Spec(
            name=self.metric,
            label=f"{label}: {self.name}",
            meaning=f"samples conditioned on {conditioned} in which {sought} is found",
            unit="share",
            side="retain" if self.labels else "forget",
            better="more" if self.labels else "less",
        )


def read_prompt_groups(
    config: ConceptSettings, evaluate: EvaluateSettings, phrases: Phrases | None
) -> tuple[PromptGroup, ...]:
    """The prompt groups of the settings, after all checks that need no weights.

    `phrases` are None where no phrase was replaced by another. ConfigError for groups or labels
    that cannot be measured, DataError for what is no detector.
    """
    known = check_detector(evaluate)
    if config.prompt_groups is None:
        return ()
    require_finder(evaluate, phrases)
    groups = _parse(config.prompt_groups, config.templates)
    return tuple(_checked(group, evaluate, known, phrases) for group in groups)


def _parse(path: str, templates: Sequence[str]) -> list[PromptGroup]:
    """The groups of a TOML or JSON file, with words in templates; ConfigError for others."""
    content = _read(path)
    entries = content.pop("groups", None) if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries or content:
        raise ConfigError(f"{path} does not hold prompt groups alone: {EXAMPLE}.")
    groups: dict[str, PromptGroup] = {}
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict):
            raise ConfigError(f"group {number} of {path} is not a table: {EXAMPLE}.")
        group = build(PromptGroup, entry, f"groups[{number}]")
        if group.name in groups:
            raise ConfigError(
                f"{path} names two groups {group.name!r}: give each a name of its own."
            )
        prompts = dict.fromkeys((*group.prompts, *fill_templates(templates, group.words)))
        update = {"prompts": tuple(prompts), "words": ()}
        groups[group.name] = group.model_copy(update=update)
    return list(groups.values())


def _read(path: str) -> Any:
    kind = "JSON" if path.lower().endswith(".json") else "TOML"
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        return json.loads(text) if kind == "JSON" else tomllib.loads(text)
    except OSError as error:
        raise ConfigError(
            f"no prompt groups at {path} ({error.strerror}): give a TOML or JSON file."
        ) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not readable {kind} ({error}): write it anew.") from error


def _checked(
    group: PromptGroup, evaluate: EvaluateSettings, known: Sequence[str], phrases: Phrases | None
) -> PromptGroup:
    """The group, without labels where those are the concept's; `known` are the detector's."""
    if evaluate.detector is not None:
        check_labels(group.labels, known, f"the group {group.name!r}")
    elif len(group.labels) > 1:
        raise ConfigError(
            f"the group {group.name!r} has several labels, and a CLIP takes one text: give one, or "
            "a detector."
        )
    concept = phrases[:1] if phrases and not evaluate.detector else concept_labels(evaluate)
    own = [label for label in group.labels if any(same_phrase(label, name) for name in concept)]
    if own and (group.kind == "neighbour" or len(own) < len(group.labels)):
        raise ConfigError(
            f"the group {group.name!r} has labels of the concept among others: give its own alone, "
            "or none for the concept."
        )
    return group.model_copy(update={"labels": ()}) if own else group


def digest_groups(groups: Sequence[PromptGroup]) -> str:
    """SHA-256 of all groups: an evaluation is made again where they changed."""
    return digest_of_json([group.model_dump() for group in groups])
