"""Phrases found and replaced in prompts, whatever their accents, signs and scripts."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efface.data.phrases import fold, names, replace_phrase, same_phrase

SHY, ZWSP, ZWNJ = "\u00ad", "\u200b", "\u200c"


def decomposed(text: str) -> str:
    return unicodedata.normalize("NFD", text)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("Brad Pitt waves", "a man waves"),
        ("BRAD  PITT's hat, by brad pitt", "a man's hat, by a man"),
        ("bradpitt and brad pitts", None),
        ("brad pitt2", None),
        ("Brad\nPitt", "a man"),
    ],
)
def test_phrases_are_whole_words_in_any_case(prompt: str, expected: str | None) -> None:
    assert names(prompt, "brad pitt") == (expected is not None)
    assert replace_phrase(prompt, ["brad pitt"], "a man") == (expected or prompt)


VISIBLE = st.text(min_size=1).filter(
    lambda text: text.strip() != "" and all(fold(c).split() or c.isspace() for c in text)
)


@settings(deadline=None)  # the first case compiles patterns
@given(st.text(), st.text(), VISIBLE)
def test_replacing_never_reads_a_phrase_as_a_pattern(before: str, new: str, phrase: str) -> None:
    """What stands between two spaces is found and replaced as it is, backslashes included."""
    phrase = " ".join(phrase.split())
    assert names(f"{before} {phrase} .", phrase)
    if not names(before, phrase):
        replaced = replace_phrase(f"{phrase} .", [phrase], new)
        assert replaced.startswith(new)


def test_of_several_phrases_the_longest_is_replaced_and_slots_are_left_alone() -> None:
    known = ["red bag", "bag", "red bag of leather"]
    assert replace_phrase("a Red  bag of leather {} bag", known, "coat") == "a coat {} coat"
    assert names("a red bag", *known)
    assert not names("a handbag", *known)


SAME = [
    ("Zo\u00eb", decomposed("Zo\u00eb")),
    ("Beyonc\u00e9", decomposed("BEYONC\u00c9")),
    ("\u0110\u00e0 N\u1eb5ng", decomposed("\u0111\u00e0 n\u1eb5ng")),  # two accents on one letter
    ("a\u0323\u0301", "a\u0301\u0323"),  # in either order
    ("\uac15\uc544\uc9c0", decomposed("\uac15\uc544\uc9c0")),  # Hangul
    ("O'Keeffe", "O\u2019Keeffe"),
    ("O'Keeffe", "O\u02bcKeeffe"),
    ("O'Keeffe", "O\u00b4Keeffe"),
    ("O'Keeffe", "O`Keeffe"),
    ("O'Keeffe", "O\uff07Keeffe"),
    ('"Blue" Dog', "\u201cBlue\u201d Dog"),
    ('"Blue" Dog', "\u00abBlue\u00bb Dog"),
    ("Spider-Man", "Spider\u2010Man"),
    ("Spider-Man", "Spider\u2011Man"),
    ("Spider-Man", "Spider\u2013Man"),
    ("Spider-Man", "Spider\u2212Man"),
    ("Spider-Man", "Spider\uff0dMan"),
    ("Spider-Man", "Spider\ufe58Man"),
    ("stra\u00dfe", "STRASSE"),
    ("stra\u00dfe", "STRA\u1e9eE"),
    ("\u03bf\u03b4\u03cc\u03c2", "\u039f\u0394\u038c\u03a3"),  # the sigma at an end
    ("Mickey", "\uff2d\uff49\uff43\uff4b\uff45\uff59"),
    ("office", "o\ufb03ce"),
    ("Mickey", "\U0001d4dc\U0001d4f2\U0001d4ec\U0001d4f4\U0001d4ee\U0001d502"),
    ("\u30ac", "\uff76\uff9e"),  # half-width kana with its sound mark
    ("Brad Pitt", "Brad\u00a0Pitt"),
    ("Brad Pitt", "Brad\u3000Pitt"),
    ("Brad Pitt", f"Br{SHY}ad Pi{ZWSP}tt"),
    ("\u0645\u06cc\u062e", f"\u0645\u06cc{ZWNJ}\u062e"),
    ("heart \u2764", "heart \u2764\ufe0f"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_one_phrase_in_two_spellings_is_one(one: str, other: str) -> None:
    assert one != other and same_phrase(one, other) and same_phrase(other, one)
    for written, sought in ((one, other), (other, one)):
        assert names(f"a photo of {written}, large", sought)
        assert replace_phrase(f"of {written}.", [sought], "a man") == "of a man."


@pytest.mark.parametrize(
    ("prompt", "phrase"),
    [
        (decomposed("a photo of Zo\u00eb"), "Zoe"),
        ("a photo of Zo\u00eb", "Zoe"),
        ("\u30d0\u30b9", "\u30cf"),  # another sound mark makes another syllable
        ("\u0e41\u0e21\u0e48", "\u0e41\u0e21"),  # and another tone another word
        ("\u0939\u093f\u0928\u094d\u0926\u0940", "\u0939\u093f\u0928"),
        ("\uac15\uc544\uc9c0", "\uac00"),
        ("Nikes", "Nike"),
        ("Spider-Man", "Spider Man"),
        ("\u0440\u0435\u043a\u0430\u043c\u0438", "\u0440\u0435\u043a\u0430"),
        ("a-b", "a b"),
        ("naïve", "na"),
    ],
)
def test_another_word_is_none(prompt: str, phrase: str) -> None:
    assert not names(prompt, phrase) and not names(decomposed(prompt), decomposed(phrase))
    assert replace_phrase(prompt, [phrase], "x") == prompt


@pytest.mark.parametrize(
    ("prompt", "phrase", "expected"),
    [
        ("\u4e00\u53ea\u732b\u5728\u5c4b\u9876", "\u732b", "\u4e00\u53eaX\u5728\u5c4b\u9876"),
        ("\u7ea2\u8272\u624b\u888b", "\u624b\u888b", "\u7ea2\u8272X"),
        ("\u8d64\u3044\u732b\u306e\u7d75", "\u732b", "\u8d64\u3044X\u306e\u7d75"),  # Japanese
        ("\u304a\u306d\u3053\u3055\u3093", "\u306d\u3053", "\u304aX\u3055\u3093"),
        ("\u9ed2\u30cd\u30b3\u306e\u5b85", "\uff88\uff7a", "\u9ed2X\u306e\u5b85"),
        ("Nike\u306e\u9774", "nike", "X\u306e\u9774"),  # a Latin word among kana
        ("\u8d64\u3044Nike", "nike", "\u8d64\u3044X"),
        ("\u0e20\u0e32\u0e1e\u0e41\u0e21\u0e27\u0e2a\u0e35\u0e14\u0e33", "\u0e41\u0e21\u0e27",
         "\u0e20\u0e32\u0e1eX\u0e2a\u0e35\u0e14\u0e33"),  # Thai
        ("\u0e23\u0e16Nike\u0e41\u0e14\u0e07", "nike", "\u0e23\u0e16X\u0e41\u0e14\u0e07"),
        ("\u0e94\u0ebd\u0ea7\u0ec1\u0ea1\u0ea7\u0e94\u0eb3", "\u0ec1\u0ea1\u0ea7",
         "\u0e94\u0ebd\u0ea7X\u0e94\u0eb3"),  # Lao
        ("\u179a\u17bc\u1794\u1786\u17d2\u1798\u17b6\u178f\u17bc\u1785", "\u1786\u17d2\u1798\u17b6",
         "\u179a\u17bc\u1794X\u178f\u17bc\u1785"),  # Khmer
        ("Nike\u2122 shoe", "nike", "X\u2122 shoe"),
        (decomposed("caf\u00e9 d\u2019Andr\u00e9"), "andr\u00e9", decomposed("caf\u00e9 d\u2019X")),
        ("cat\U0001f431!", "\U0001f431", "catX!"),
        ("a <tok>s", "<tok>", "a Xs"),
        ("die GROSSE STRASSE", "gro\u00dfe stra\u00dfe", "die X"),
    ],
)  # fmt: skip
def test_words_are_found_in_every_script_and_the_rest_is_left(
    prompt: str, phrase: str, expected: str
) -> None:
    assert names(prompt, phrase)
    assert replace_phrase(prompt, [phrase], "X") == expected


@settings(deadline=None)  # the first case compiles patterns
@given(st.text())
def test_folding_again_changes_nothing_and_forms_of_unicode_fold_alike(text: str) -> None:
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        other = unicodedata.normalize(form, text)
        if not set(text) & {"\u00b4", "\u2033"}:  # which stand for quotation marks here
            assert fold(other) == fold(text)


def test_what_is_no_word_names_nothing() -> None:
    assert same_phrase("A  red bag", "a red BAG") and not same_phrase("bag", "bags")
    assert not names("a cat", "\u2122") and not names("a cat", ZWSP)
