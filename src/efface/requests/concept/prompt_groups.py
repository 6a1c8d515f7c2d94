"""How far forgetting reaches: groups of prompts (paraphrases, neighbours), and rates in each."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from pydantic import model_validator

from efface.data.phrases import same_phrase
from efface.data.prompts import fill_templates
from efface.errors import ConfigError
from efface.evaluation.detection import check_detector, concept_labels
from efface.evaluation.protocol import Seen, make_result, of_models
from efface.evaluation.store import digest_of_json
from efface.metrics.concept_rate import rate_above
from efface.metrics.detector import check_labels
from efface.metrics.intervals import Estimate, proportion_by_seed
from efface.metrics.retained_accuracy import RETAINED_ACCURACY
from efface.metrics.threshold_curve import threshold_curve
from efface.records import Curve, Result, Spec
from efface.requests.concept.finding import Finder, Phrases, require_finder
from efface.requests.concept.settings import ConceptSettings
from efface.settings.evaluate import EvaluateSettings
from efface.settings.reading import Section, build

if TYPE_CHECKING:
    from efface.requests.concept.protocol import ConceptProtocol

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
NEIGHBOURS = RETAINED_ACCURACY.spec.model_copy(
    update={
        "label": "Neighbours retained",
        "meaning": "samples conditioned on neighbours of the concept that still show them",
    }
)
Scores = dict[str, dict[str, np.ndarray]]  # group -> model -> (N,)


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


def set_of(group: PromptGroup) -> str:
    """The name of the samples that a group shares with all groups of the same prompts."""
    return json.dumps(group.prompts)


def score_groups(protocol: "ConceptProtocol", observer: str, seen: Mapping[str, Seen]) -> Scores:
    """How probable it is that each sample of a group shows what is sought in it."""
    finder = protocol.group_finders[observer]
    return {
        group.name: {
            model: finder.scores(arrays, group.labels)
            for model, arrays in of_models(seen, set_of(group), observer).items()
        }
        for group in protocol.groups
    }


def group_results(
    protocol: "ConceptProtocol", finder: Finder, scores: Scores, sampled: str
) -> list[Result]:
    """One rate per group, and that of all neighbours together."""
    seeds, threshold = protocol.group_seeds(), finder.threshold

    def result(spec: Spec, rates: Mapping[str, Estimate], sought: str, groups: int = 1) -> Result:
        extractor, samples = finder.described_as(sought), groups * len(seeds)
        text = _protocol_text(sampled, extractor)
        return make_result(spec, rates, seeds, samples=samples, protocol=text, extractor=extractor)

    results = [
        result(
            group.spec,
            {model: rate_above(own, threshold) for model, own in scores[group.name].items()},
            finder.name_sought(group.labels),
        )
        for group in protocol.groups
    ]
    neighbours = [scores[group.name] for group in protocol.groups if group.kind == "neighbour"]
    if neighbours:
        # Each seed stands for one sample of every group.
        together = {
            model: proportion_by_seed(np.stack([own[model] for own in neighbours], 1) > threshold)
            for model in neighbours[0]
        }
        sought = "each neighbour's own label"
        results.append(result(NEIGHBOURS, together, sought, len(neighbours)))
    return results


def group_curves(
    protocol: "ConceptProtocol", finder: Finder, scores: Scores, sampled: str
) -> list[Curve]:
    """Rates of the concept by threshold in each group without labels, before and after."""
    forget = [group.name for group in protocol.groups if not group.labels]
    if not forget:
        return []
    extractor = finder.described_as(finder.name_sought(()))
    return [
        threshold_curve(
            {f"{model}_{g}": scores[g][model] for model in ("result", "baseline") for g in forget},
            finder.name,
            _protocol_text(sampled, extractor),
            name="group_threshold_curve",
            title="How often other prompts bring it back, by threshold",
            extractor=extractor,
        )
    ]


def _protocol_text(sampled: str, extractor: Mapping[str, str]) -> str:
    return f"{sampled}; measured with: {extractor['name']}; every group from the same seeds"
