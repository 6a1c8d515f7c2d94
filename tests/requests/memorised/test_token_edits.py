from __future__ import annotations

from collections.abc import Callable

from efface.requests.memorised.embedding_descent import EMBEDDED
from efface.requests.memorised.sampling import PromptSampler
from efface.requests.memorised.searching import Prober
from efface.requests.memorised.text_noise import text_noise_norms
from efface.requests.memorised.token_edits import (
    WORDS,
    drops,
    insertions,
    modify_words,
    replacements,
)


def test_one_word_is_dropped_replaced_or_inserted() -> None:
    words = ("a", "red", "bag")
    assert drops(words) == [("red", "bag"), ("a", "bag"), ("a", "red")]
    assert drops(("bag",)) == []
    assert replacements(words, [1])[:2] == [("a", "another", "bag"), ("a", "new", "bag")]
    inserted = insertions(words, [2])
    assert inserted[0] == ("a", "red", "another", "bag")
    assert inserted[len(WORDS)] == (*words, "another") and len(inserted) == 2 * len(WORDS)


def test_words_are_changed_until_the_image_is_generated_only_sometimes(
    make_prober: Callable[..., Prober], sampler: PromptSampler, prompt: str
) -> None:
    prober, denoiser = make_prober(), sampler.denoiser
    found = modify_words(prober, denoiser, prompt)
    assert found is not None
    tried = prober.tried[-1]
    assert prober.holds(tried)
    text = tried.text
    assert text is not None and text != prompt
    assert found.tensors[EMBEDDED].equal(denoiser.encode([text]).tensors[EMBEDDED])
    assert set(text.split()) <= {*prompt.split(), *WORDS}
    start = float(text_noise_norms(denoiser, denoiser.encode([prompt]), range(2)).mean())
    assert tried.norm < start
    again = make_prober()
    assert modify_words(again, denoiser, prompt) is not None
    assert again.tried == prober.tried


def test_a_search_that_finds_nothing_ends_within_its_tries(
    make_prober: Callable[..., Prober], sampler: PromptSampler, prompt: str
) -> None:
    prober = make_prober(left=4, band=(0.999, 0.9999))
    assert modify_words(prober, sampler.denoiser, prompt) is None
    assert 1 <= len(prober.tried) <= 4
