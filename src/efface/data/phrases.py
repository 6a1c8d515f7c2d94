"""Phrases found and replaced in prompts, in whatever way they are written (no torch).

Texts are compared folded: compatibility forms and accents decomposed (NFKD, equal wherever NFKC
is), in lower case, with one apostrophe, one quotation mark and one hyphen, nothing invisible.
"""

import functools
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

SAME_SIGN = {
    "'": "\u2018\u2019\u201a\u201b\u2039\u203a\u2032\u02b9\u02bb\u02bc\u00b4`",
    '"': "\u201c\u201d\u201e\u201f\u00ab\u00bb\u2033",
    "-": "\u2010\u2011\u2012\u2013\u2014\u2015\u2043\u2212",
    " ": "\u00a9\u00ae\u2120\u2122",  # a trademark behind a name is no part of the word
}
INVISIBLE = (  # soft hyphen, joiners, directions, variation selectors: first and last
    *((0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x180B, 0x180F), (0x200B, 0x200F)),
    *((0x202A, 0x202E), (0x2060, 0x206F), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xE0000, 0xE0FFF)),
)
FOLDED: dict[int, str | None] = {ord(c): sign for sign, all_ in SAME_SIGN.items() for c in all_}
FOLDED |= {code: None for first, last in INVISIBLE for code in range(first, last + 1)}
# Scripts without spaces between words: Thai, Lao, Tibetan, Burmese, Khmer, Tai, Chinese, Japanese.
UNSPACED = (
    "\u0e00-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\u2e80-\u2fff\u3005-\u3007\u3021-\u312f"
    "\u31a0-\u31ff\u3400-\ua4cf\ua9e0-\ua9ff\uaa60-\uaa7f\uf900-\ufaff\U0001b000-\U0001b16f"
    "\U00020000-\U0003ffff"
)


def fold(text: str) -> str:
    """The form in which texts are compared."""
    decomposed = unicodedata.normalize("NFKD", text.translate(FOLDED)).translate(FOLDED)
    return unicodedata.normalize("NFKD", decomposed.casefold())


def same_phrase(phrase: str, other: str) -> bool:
    return fold(phrase).split() == fold(other).split()


def names(prompt: str, *phrases: str) -> bool:
    """Whether a prompt holds one of the phrases as whole words."""
    return _pattern(phrases).search(fold(prompt)) is not None


def replace_phrase(prompt: str, phrases: Sequence[str], replacement: str) -> str:
    """The prompt with `replacement` for each of `phrases`, as whole words."""
    letters = _letters(prompt)
    folded = [fold(letter) for letter in letters]
    ends = list(accumulate(map(len, folded)))
    parts, done = [], 0
    for match in _pattern(tuple(phrases)).finditer("".join(folded)):
        first, last = bisect_right(ends, match.start()), bisect_right(ends, match.end() - 1)
        if first >= done:
            parts += [*letters[done:first], replacement]
            done = last + 1
    return "".join([*parts, *letters[done:]])


def _letters(text: str) -> list[str]:
    """Characters, each with the accents and what else cannot be seen alone behind it."""
    letters: list[str] = []
    for character in text:
        unseen = FOLDED.get(ord(character), character) is None
        if letters and (unseen or unicodedata.combining(character)):
            letters[-1] += character
        else:
            letters.append(character)
    return letters


@functools.lru_cache(maxsize=64)
def _pattern(phrases: tuple[str, ...]) -> re.Pattern[str]:
    """Any of the phrases; where one begins with another, the longer is found."""
    folded = sorted((fold(phrase).split() for phrase in phrases), key=lambda w: -len(" ".join(w)))
    return re.compile("|".join(_whole(words) for words in folded if words) or "(?!)")


def _whole(words: Sequence[str]) -> str:
    """A pattern of words that no longer word holds.

    In scripts without spaces, and of signs, no word is longer. A letter with an accent is another
    letter than the one without.
    """
    accent = _accents()
    before = rf"(?:(?<![\w{accent}])|(?<=[{UNSPACED}]))"
    after = rf"(?:(?!\w)|(?=[{UNSPACED}]))"
    alone = re.compile(rf"[^\w{accent}]|[{UNSPACED}]")
    first, last = words[0][0], words[-1][-1]
    soon = f"(?={re.escape(first)})"  # the rest is slow
    text = r"\s+".join(map(re.escape, words)) + f"(?![{accent}])"
    start, end = "" if alone.match(first) else before, "" if alone.match(last) else after
    return f"{soon}{start}{text}{end}"


@functools.cache
def _accents() -> str:
    """All marks that belong to the character before them."""
    characters = map(chr, range(0x300, 0x1F000))
    return "".join(c for c in characters if unicodedata.category(c).startswith("M"))
