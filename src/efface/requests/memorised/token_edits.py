"""Modify a prompt word by word, so that the result can be read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from efface.diffusion.denoiser import Condition
from efface.diffusion.text.denoiser import TextDenoiser
from efface.errors import RequestError
from efface.requests.memorised.searching import Prober, Tried, bisect

EDITS = 4  # words to change, at most
WORDS = ("another", "new", "old", "small", "bright", "different")  # that are put in
SALIENT = 3  # words whose place is tried for replacements and insertions


def drops(words: Sequence[str]) -> list[tuple[str, ...]]:
    """All prompts with one word less; a single word is not dropped."""
    if len(words) < 2:
        return []
    return [(*words[:i], *words[i + 1 :]) for i in range(len(words))]


def replacements(words: Sequence[str], places: Sequence[int]) -> list[tuple[str, ...]]:
    """Other words in place of those at `places`."""
    return [(*words[:i], word, *words[i + 1 :]) for i in places for word in WORDS]


def insertions(words: Sequence[str], places: Sequence[int]) -> list[tuple[str, ...]]:
    """Further words before those at `places`, and at the end."""
    return [(*words[:i], word, *words[i:]) for i in (*places, len(words)) for word in WORDS]


def modify_words(prober: Prober, denoiser: TextDenoiser, prompt: str) -> Condition | None:
    """Greedy search: of all prompts one edit away, ordered by text-noise norm, bisect for the band.

    Where all are too strong or too mild, the next edit begins from the one with the lowest norm
    that still generates copies too often. What is returned is what was tried last.
    """
    words = tuple(prompt.split())
    for _ in range(EDITS):
        ranked = _ranked(prober, denoiser, words)
        before = len(prober.tried)

        def probe(number: int, ranked: list[str] = ranked) -> Tried:
            text = ranked[number]
            return prober(denoiser.encode([text]), "tokens", text=text)

        found = bisect(len(ranked), probe, prober)
        if found is not None:
            return denoiser.encode([ranked[found]])
        strong = [t for t in prober.tried[before:] if t.share > prober.high]
        if not strong or prober.left < 1:
            return None
        words = tuple(str(min(strong, key=lambda tried: tried.norm).text).split())
    return None


def _ranked(prober: Prober, denoiser: TextDenoiser, words: tuple[str, ...]) -> list[str]:
    """Prompts one edit away with a lower norm than `words`, the highest norm first."""
    here = prober.norms(denoiser.encode([" ".join(words)]))[0]
    shorter = _readable(denoiser, drops(words))
    places = list(range(len(words)))[:SALIENT]
    norms: list[float] = []
    if len(shorter) == len(words):
        norms = prober.norms(denoiser.encode(shorter))
        places = np.argsort(norms)[:SALIENT].tolist()  # whose absence lowers the norm most
    others = _readable(denoiser, replacements(words, places) + insertions(words, places))
    texts = [*shorter, *others]
    norms = [*norms, *prober.norms(denoiser.encode(texts)[len(norms) :])]
    order = sorted(range(len(texts)), key=lambda i: -norms[i])
    return list(dict.fromkeys(texts[i] for i in order if norms[i] < here))


def _readable(denoiser: TextDenoiser, candidates: Sequence[tuple[str, ...]]) -> list[str]:
    """Candidates as text, without those that the text encoder would cut."""
    kept = []
    for candidate in candidates:
        text = " ".join(candidate)
        try:
            denoiser.prompts.check([text])
        except RequestError:
            continue
        kept.append(text)
    return kept
