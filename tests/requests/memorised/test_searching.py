from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from efface.errors import RequestError
from efface.requests.memorised.searching import (
    WORDS,
    PromptSearch,
    Tried,
    drops,
    insertions,
    modify,
    replacements,
)

MakeSearch = Callable[..., PromptSearch]
NEVER = "memorised.copy_band=[0.985, 0.99]"


class Scripted(PromptSearch):
    """Prompts are numbers: more than `edge` is no copy, less are all copies."""

    def probe(self, prompt: str) -> Tried:
        number, edge = map(int, prompt.split("/"))
        copies = 10 if number < edge else 5 if number == edge else 0
        self.tried.append(Tried(text=prompt, norm=0.0, copies=copies, samples=10))
        return self.tried[-1]


@pytest.mark.parametrize("edge", [0, 3, 7, 12, 15])
def test_bisection_finds_the_one_candidate_in_the_band(make_search: MakeSearch, edge: int) -> None:
    """Shares that fall from 1 to 0 with one candidate between."""
    search = Scripted(**vars(make_search("memorised.tries=99")))
    assert search.bisect([f"{number}/{edge}" for number in range(16)])
    assert search.tried[-1].text == f"{edge}/{edge}"
    assert len(search.tried) <= math.ceil(math.log2(16)) + 1


def test_one_word_is_dropped_replaced_or_inserted() -> None:
    words = ("a", "red", "bag")
    assert drops(words) == [("red", "bag"), ("a", "bag"), ("a", "red")]
    assert drops(("bag",)) == []
    assert replacements(words, [1])[:2] == [("a", "another", "bag"), ("a", "new", "bag")]
    inserted = insertions(words, [2])
    assert inserted[0] == ("a", "red", "another", "bag")
    assert inserted[len(WORDS)] == (*words, "another") and len(inserted) == 2 * len(WORDS)


def test_words_are_changed_until_the_image_is_generated_only_sometimes(
    make_search: MakeSearch, prompt: str
) -> None:
    # The prompt itself generates too many copies for this band.
    search, again = (make_search("memorised.copy_band=[0.2, 0.6]") for _ in range(2))
    found = modify(search.sampler, search.detector, search.settings, prompt, None)
    first, *_, last = found.tried
    assert (first.text, found.prompt) == (prompt, last) and first.share > 0.6
    assert search.holds(last) and last.text != prompt and last.norm < first.norm
    assert set(last.text.split()) <= {*prompt.split(), *WORDS}
    assert modify(again.sampler, again.detector, again.settings, prompt, None) == found


@pytest.mark.parametrize("given", [None, "red cat"])
def test_a_prompt_that_needs_no_change_or_was_given_is_not_changed(
    make_search: MakeSearch, prompt: str, given: str | None
) -> None:
    search = make_search("memorised.copy_band=[0.01, 0.99]")
    found = modify(search.sampler, search.detector, search.settings, prompt, given)
    assert [tried.text for tried in found.tried] == [given or prompt]


def test_a_search_that_finds_nothing_ends_within_its_tries_and_says_so(
    make_search: MakeSearch, prompt: str
) -> None:
    search = make_search(NEVER, "memorised.tries=2")
    with pytest.raises(RequestError, match=r"none of 3 .*--modified-prompt.*memorised\.tries"):
        modify(search.sampler, search.detector, search.settings, prompt, None)


def test_a_prompt_of_one_word_is_changed_by_other_words(make_search: MakeSearch) -> None:
    search = make_search(NEVER, "memorised.tries=2")
    candidates = search.ranked(("tv",))
    assert candidates and all(set(text.split()) <= {"tv", *WORDS} for text in candidates)
