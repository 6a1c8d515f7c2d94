"""All prompts of a request: what is forgotten, what replaces it, what is retained."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from efface.data.phrases import fold, names, replace_phrase
from efface.data.prompts import fill_templates, gibberish, read_pairs, read_prompts, spread
from efface.diffusion.text.prompts import Reader, shortened, whole_prompts
from efface.errors import RequestError
from efface.evaluation.store import digest_of_json
from efface.progress import note
from efface.requests.concept.request import ForgetConcept
from efface.requests.concept.settings import ConceptSettings

Words = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class ConceptPrompts:
    """All prompts of a run; `targets` has one per forget prompt.

    Gibberish prompts are retained too, and not measured: the teacher's guidance for them is
    negative, with `row_negative_prompt`. So may it be for targets. `dropped` counts retained
    prompts that were given and name the concept, `too_long` those that no text encoder reads whole.
    """

    forget: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    owners: tuple[int, ...] = ()  # the request of each forget prompt, by number; (): all of one
    retain: tuple[str, ...]
    gibberish: tuple[str, ...] = ()
    negative_prompt: str | None = None  # keywords, which are shown nowhere; None: the empty prompt
    row_negative_prompt: str | None = None
    dropped: int = 0
    too_long: int = 0

    @property
    def different(self) -> list[str]:
        """Every prompt once: the rows of a run's table."""
        prompts = (*self.retain, *self.gibberish, *self.forget, *self.targets)
        return list(dict.fromkeys(prompts))

    @property
    def row_negatives(self) -> list[str]:
        return [] if self.row_negative_prompt is None else [self.row_negative_prompt]

    @property
    def digest(self) -> str:
        content = [self.forget, self.targets, self.retain, self.gibberish]
        content += [self.negative_prompt, self.row_negative_prompt]
        return digest_of_json(content)

    def of_request(self, number: int) -> list[str]:
        """Forget prompts of one of several requests."""
        owners = self.owners or (number,) * len(self.forget)
        return [prompt for prompt, own in zip(self.forget, owners, strict=True) if own == number]

    def notes(self) -> dict[str, Any]:
        """How many prompts there are, for the record."""
        counts = {"forget_prompts": len(self.forget), "retain_prompts": len(self.retain)}
        if self.gibberish:
            counts["gibberish_prompts"] = len(self.gibberish)
        dropped = {"retain_prompts_dropped": self.dropped, "retain_prompts_too_long": self.too_long}
        return counts | dropped


def read_concept_prompts(
    request: ForgetConcept, config: ConceptSettings, readers: Sequence[Reader] = ()
) -> ConceptPrompts:
    """Read or make all prompts of a request; DataError or RequestError for what cannot be used.

    Those of earlier requests are forgotten too, and none of their concepts is in a target. Those of
    the retained ones that are too long for all `readers` are left out.
    """
    rows: list[tuple[str, str, int]] = []  # a prompt, its target, the number of the request
    keywords: list[str] = []
    for number, one in enumerate(request.together):
        pairs, own_keywords = _read_pairs(one, config)
        anew = {fold(prompt) for prompt, _ in pairs}
        rows = [row for row in rows if fold(row[0]) not in anew]
        rows += [(prompt, target, number) for prompt, target in pairs]
        keywords += own_keywords
    forget, targets, owners = (tuple(column) for column in zip(*rows, strict=True))
    negative = ", ".join(keywords) or None
    unwanted = [*(name for one in request.together for name in one.names), *keywords]
    # The replacements are retained as well.
    own = (one.replacement for one in request.together if one.replacement is not None)
    more = list(dict.fromkeys(without_earlier(request, phrase) for phrase in own))
    given = prompts_to_retain(request.retain_prompts, config, more, request.caption_column)
    same = set(map(fold, forget))
    others = [p for p in given if fold(p) not in same and not names(p, *unwanted)]
    if not others:
        concepts = " or ".join(repr(one.concept) for one in request.together)
        raise RequestError(
            f"every retained prompt names {concepts}: give at least one that does not."
        )
    if len(others) < len(given):
        dropped = f"{len(given) - len(others)} of {len(given)} retained prompts"
        note(f"{dropped} name {request.concept!r} and are left out.")
    whole = whole_prompts(others, readers)
    retain = spread(whole, config.retain)
    return ConceptPrompts(
        forget=forget,
        targets=tuple(without_earlier(request, target) for target in targets),
        owners=owners,
        retain=tuple(retain),
        gibberish=tuple(_gibberish_prompts(len(retain), config, unwanted)),
        negative_prompt=negative,
        row_negative_prompt=_row_negative(request, negative, config),
        dropped=len(given) - len(others),
        too_long=len(others) - len(whole),
    )


def read_words(request: ForgetConcept) -> Words:
    """Every name of every forgotten concept, once, with its replacement."""
    words: dict[str, str] = {}
    for one in request.together:
        assert one.replacement is not None  # the request was checked
        words |= dict.fromkeys(one.names, without_earlier(request, one.replacement))
    return tuple(words.items())


def without_earlier(request: ForgetConcept, target: str) -> str:
    """A target in which each of several forgotten concepts has given way to its replacement."""
    if not request.earlier:
        return target
    for one in request.together:
        if one.replacement is not None:
            target = replace_phrase(target, one.names, one.replacement)
    for one in request.together:
        if names(target, *one.names):
            raise RequestError(
                f"the target {shortened(target)} names {one.concept!r}, which is to be forgotten "
                "too: give another replacement."
            )
    return target


def _read_pairs(
    request: ForgetConcept, config: ConceptSettings
) -> tuple[list[tuple[str, str]], list[str]]:
    """The forget prompts of one request with their targets, and keywords of a negative prompt."""
    if request.prompt_pairs is not None:
        return read_pairs(request.prompt_pairs), []
    if request.negative is not None:
        keywords = read_prompts(request.negative, request.caption_column)
        return _keyword_pairs(keywords, config.people), keywords
    return _phrase_pairs(request, config), []


def prompts_to_retain(
    source: str | None,
    config: ConceptSettings,
    subjects: Sequence[str] = (),
    column: str | None = None,
) -> list[str]:
    """Prompts of a file or data set, or templates with the subjects of the settings and others."""
    if source is not None:
        return read_prompts(source, column)
    return fill_templates(config.templates, [*config.subjects, *subjects])


def _phrase_pairs(request: ForgetConcept, config: ConceptSettings) -> list[tuple[str, str]]:
    """Every forget prompt under every name of the concept, and with the replacement."""
    assert request.replacement is not None  # the request was checked
    if request.forget_prompts is None:
        prompts = fill_templates(config.templates, [request.concept])
    else:
        prompts = read_prompts(request.forget_prompts, request.caption_column)
    pairs: dict[str, str] = {}
    for prompt in prompts:
        if not names(prompt, *request.names):
            phrases = " or ".join(map(repr, request.names))
            raise RequestError(
                f"the prompt {shortened(prompt)} does not contain {phrases}, so nothing in it can "
                "be replaced: leave it out, or give prompt pairs."
            )
        target = replace_phrase(prompt, request.names, request.replacement)
        left = [name for name in request.names if names(target, name)]
        if left:
            raise RequestError(
                f"the replacement {request.replacement!r} still names {left[0]!r}, in the prompt "
                f"{shortened(target)}: give a phrase without it."
            )
        missing = [name for name in request.names if not names(prompt, name)]
        renamed = [replace_phrase(prompt, request.names, name) for name in missing]
        pairs |= dict.fromkeys([prompt, *renamed], target)
    return list(pairs.items())


def _gibberish_prompts(
    retained: int, config: ConceptSettings, unwanted: Sequence[str]
) -> list[str]:
    """As many beside the `retained` prompts as makes them their share of all retained ones."""
    count = round(config.gibberish / (1 - config.gibberish) * retained)
    words = gibberish(count, without=unwanted)
    templates = [config.templates[i % len(config.templates)] for i in range(count)]
    return [fill_templates([t], [word])[0] for t, word in zip(templates, words, strict=True)]


def _row_negative(
    request: ForgetConcept, negative: str | None, config: ConceptSettings
) -> str | None:
    """The keywords, or all names of the concepts; None where no row has negative guidance."""
    if not config.gibberish and config.forget_guidance is None:
        return None
    return negative or ", ".join(name for one in request.together for name in one.names)


def _keyword_pairs(keywords: Sequence[str], people: Sequence[str]) -> list[tuple[str, str]]:
    """Every keyword before and behind every subject; the bare subject is the target."""
    return [
        (prompt, person)
        for person in people
        for keyword in keywords
        for prompt in (f"{keyword} {person}", f"{person}, {keyword}")
    ]
