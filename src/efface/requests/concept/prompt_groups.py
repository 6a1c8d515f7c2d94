"""Groups of prompts that tell how far forgetting reaches: paraphrases, neighbours, compositions."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from efface.data.prompts import fill_templates
from efface.errors import ConfigError
from efface.evaluation.detection import LABELS_SETTING, concept_labels, known_labels
from efface.metrics.detector import check_labels
from efface.settings.reading import EvaluateConfig, Settings, build

GroupKind = Literal["own", "paraphrase", "neighbour", "composition", "unrelated"]
LONGEST_NAME = 40
CONCEPT_RATE, KEPT_RATE = "concept_rate", "kept_rate"
FORGETS = {"images": "pictures", "memorised": "a memorised picture"}  # by kinds of requests
EXAMPLE = "write [[groups]] with name, kind and prompts, as in docs/forget-a-concept.md"


@dataclass(frozen=True, kw_only=True)
class PromptGroup:
    """Prompts that are asked in turn, and the labels that a detector is to look for.

    `words` are put into the templates of the run and come behind `prompts`. Without labels it is
    the concept that is looked for. A CLIP takes a label for a text.
    """

    name: str
    kind: GroupKind
    prompts: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        plain = all(c.isalnum() or c in " -_" for c in self.name)
        if not (plain and self.name.strip() == self.name and 0 < len(self.name) <= LONGEST_NAME):
            raise ConfigError(
                f"a group of prompts is named {self.name[:LONGEST_NAME]!r}: give a name of at most "
                f"{LONGEST_NAME} letters, digits, spaces, - and _."
            )
        if not all(text.strip() for text in (*self.prompts, *self.words, *self.labels)):
            raise ConfigError(f"the group {self.name!r} holds an empty text: leave it out.")
        if not self.prompts and not self.words:
            raise ConfigError(f"the group {self.name!r} has no prompts: give prompts or words.")
        if self.kind == "neighbour" and not self.labels:
            raise ConfigError(
                f"the neighbour {self.name!r} has no labels: give its own, so that it can be told "
                "whether it is still drawn."
            )

    @property
    def metric(self) -> str:
        """The name of its rate: of the concept, which is to go, or of labels that are to stay."""
        return f"{KEPT_RATE if self.labels else CONCEPT_RATE}/{self.kind}/{self.name}"


def read_prompt_groups(path: str, templates: Sequence[str]) -> tuple[PromptGroup, ...]:
    """The groups of a TOML or JSON file, words put into templates; ConfigError for what is none."""
    content = _read(path)
    entries = content.get("groups") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries or len(content) > 1:
        raise ConfigError(f"{path} holds other things than groups of prompts, or none: {EXAMPLE}.")
    groups = []
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict):
            raise ConfigError(f"group {number} of {path} is no table: {EXAMPLE}.")
        group: PromptGroup = build(PromptGroup, entry, f"groups[{number}]")
        prompts = dict.fromkeys((*group.prompts, *fill_templates(templates, group.words)))
        groups.append(replace(group, prompts=tuple(prompts), words=()))
    names = [group.name for group in groups]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{path} names two groups {name!r}: give each a name of its own.")
    return tuple(groups)


def _read(path: str) -> Any:
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        return json.loads(text) if path.endswith(".json") else tomllib.loads(text)
    except OSError as error:
        raise ConfigError(
            f"no groups of prompts at {path} ({error.strerror}): give a TOML or JSON file."
        ) from error
    except ValueError as error:
        kind = "JSON" if path.endswith(".json") else "TOML"
        raise ConfigError(f"{path} is no readable {kind} ({error}): write it anew.") from error


def check_detection(settings: Settings, request: dict[str, Any]) -> tuple[PromptGroup, ...]:
    """The prompt groups of the settings, after all that can be checked without drawing.

    `request` is that of the run, as its record holds it. Raises ConfigError or DataError for a
    detector, labels or groups that cannot be used.
    """
    config = settings.evaluate
    forgets = FORGETS.get(request["kind"])
    if forgets is not None:
        for name in ("detector", "prompt_groups", "distilled"):
            if getattr(config, name) is not None:
                raise ConfigError(
                    f"evaluate.{name} is for classes and concepts, and this run forgets {forgets}: "
                    "leave it out."
                )
    known = None if config.detector is None else known_labels(config)
    if known is not None:
        check_labels(concept_labels(config), known, LABELS_SETTING)
    if config.prompt_groups is None:
        return ()
    if "digest" not in request:
        raise ConfigError(
            "evaluate.prompt_groups is for text-to-image models, and this model takes labels: "
            "leave it out."
        )
    groups = read_prompt_groups(config.prompt_groups, settings.prompts.templates)
    return tuple(_checked(group, config, known, request) for group in groups)


def _checked(
    group: PromptGroup,
    config: EvaluateConfig,
    known: Sequence[str] | None,
    request: dict[str, Any],
) -> PromptGroup:
    """The group, without labels where those are the concept's."""
    if known is not None:
        check_labels(group.labels, known, f"the group {group.name!r}")
        concept = set(concept_labels(config))
    elif request.get("concept") and request.get("replacement"):
        concept = {request["concept"]}
        if len(group.labels) > 1:
            raise ConfigError(
                f"the group {group.name!r} has several labels, and a CLIP looks for one text: give "
                "one, or a detector."
            )
    else:
        raise ConfigError(
            "a CLIP tells groups of prompts apart only where a phrase was replaced by another: "
            "give evaluate.detector."
        )
    labels = set(group.labels)
    if labels & concept and (group.kind == "neighbour" or labels - concept):
        raise ConfigError(
            f"the group {group.name!r} looks for labels of the concept among others: give its own "
            "alone, or none for the concept."
        )
    return replace(group, labels=() if labels & concept else group.labels)


def digest_groups(groups: Sequence[PromptGroup]) -> str:
    """SHA-256 of all groups: an evaluation is made again where they changed."""
    content = json.dumps([asdict(group) for group in groups])
    return hashlib.sha256(content.encode()).hexdigest()
