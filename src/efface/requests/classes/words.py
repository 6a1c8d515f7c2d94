"""What a report says of forgotten classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from efface.evaluation.wording import format_count, join_words, number_word, plural, shorten
from efface.records import RunRecord
from efface.requests.words import AppearanceWords, Phrases, keeping, source_of

if TYPE_CHECKING:
    from efface.requests.classes.request import ForgetClass


class ClassWords(AppearanceWords):
    """Words of a request to forget labels."""

    request: ForgetClass

    label: ClassVar[str] = "class"
    unmeasured: ClassVar[str] = (
        "That takes a classifier that recognises the classes: give your own with --judge, or train "
        "one with `efface classifier`."
    )

    def phrases(self, record: RunRecord, names: Mapping[int, str]) -> Phrases:
        labels, replacement = list(self.request.replacements), self.request.replacement
        names = {**_recorded_names(record), **names}
        forgotten, own = _name(labels, names), _name(self.request.labels, names)
        rest = _others(record.model.get("classes"), len(labels))
        instead = _name(replacement, names) if replacement else f"one of {rest} at random"
        return Phrases(
            forgotten=forgotten,
            rest=rest,
            requested=f"The model {source_of(record)} was to forget {own} and to generate "
            f"{instead} instead.{keeping(self.request, f'{forgotten} in all')}",
            many=len(labels) > 1,
            rest_count=1 if rest == "the other class" else 2,
        )

    def anonymous(self, record: RunRecord) -> str:
        labels, classes = list(self.request.replacements), record.model.get("classes")
        of = f" of {format_count(classes)}" if isinstance(classes, int) else ""
        return f"{plural(len(labels), 'label')} {join_words([str(label) for label in labels])}{of}"


def _recorded_names(record: RunRecord) -> dict[Any, str]:
    """Names of labels; a record may hold any JSON in their place."""
    names = record.model.get("id2label")
    if not isinstance(names, dict):
        return {}
    return {int(k): shorten(str(name)) for k, name in names.items() if str(k).isdecimal()}


def _name(labels: Sequence[int | str], names: Mapping[Any, str]) -> str:
    words = []
    for label in labels:
        name = names.get(label, str(label))
        words.append(str(label) if name == str(label) else f"{label} ({name})")
    return f"{plural(len(labels), 'class', 'classes')} {join_words(words)}"


def _others(classes: object, forgotten: int) -> str:
    if not isinstance(classes, int) or classes <= forgotten:
        return "the other classes"
    count = classes - forgotten
    return "the other class" if count == 1 else f"the other {number_word(count)} classes"
