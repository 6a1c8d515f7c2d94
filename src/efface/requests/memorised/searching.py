"""Modify a prompt word by word until it generates copies only sometimes: the result can be read."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from efface.errors import RequestError
from efface.requests.memorised.sampling import PromptSampler, to_unit
from efface.requests.memorised.settings import MemorisedSettings
from efface.requests.memorised.similarity import CopyDetector

EDITS = 4  # words to change, at most
WORDS = ("another", "new", "old", "small", "bright", "different")  # that are put in
SALIENT = 3  # words whose place is tried for replacements and insertions


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A prompt, its text-noise norm, and how many of its samples are copies."""

    text: str
    norm: float
    copies: int
    samples: int

    @property
    def share(self) -> float:
        return self.copies / self.samples


@dataclass(frozen=True, kw_only=True)
class Modification:
    """All prompts that were tried; the last generates the image only sometimes."""

    tried: tuple[Tried, ...]

    @property
    def prompt(self) -> Tried:
        return self.tried[-1]


def modify(
    sampler: PromptSampler,
    detector: CopyDetector,
    settings: MemorisedSettings,
    prompt: str,
    given: str | None,
) -> Modification:
    """A prompt that generates the image only sometimes: given, unchanged, or searched for.

    RequestError where the search finds none.
    """
    search = PromptSearch(sampler=sampler, detector=detector, settings=settings)
    first = search.probe(prompt if given is None else given)
    if given is None and not search.holds(first) and not search.edit(prompt):
        shares = sorted({tried.share for tried in search.tried})
        raise RequestError(
            f"none of {len(search.tried)} modified prompts generates the memorised image only "
            f"sometimes (shares of copies: {', '.join(f'{share:.2g}' for share in shares)}): give "
            "one with --modified-prompt, or raise memorised.tries (with --overwrite)."
        )
    return Modification(tried=tuple(search.tried))


@dataclass(frozen=True, eq=False, kw_only=True)
class PromptSearch:
    """Samples candidates and counts copies; records all that was tried.

    The same seeds serve every candidate. A prompt is partly memorised where the share of copies
    lies within `memorised.copy_band`.
    """

    sampler: PromptSampler
    detector: CopyDetector
    settings: MemorisedSettings
    tried: list[Tried] = field(default_factory=list)

    @property
    def exhausted(self) -> bool:
        """Whether `memorised.tries` prompts were tried beside the first, which is not modified."""
        return len(self.tried) > self.settings.tries

    def holds(self, tried: Tried) -> bool:
        low, high = self.settings.copy_band
        return low <= tried.share <= high

    def norms(self, prompts: Sequence[str]) -> list[float]:
        """Text-noise norms, means over draws."""
        if not prompts:
            return []
        for prompt in prompts:  # the last digits of a row depend on what is encoded with it
            self.sampler.denoiser.encode([prompt])
        return self.sampler.norms(prompts, self.settings.noises).tolist()

    def probe(self, prompt: str) -> Tried:
        images = self.sampler.sample([prompt], self.settings.samples, "search")
        tried = Tried(
            text=prompt,
            norm=self.norms([prompt])[0],
            copies=int(self.detector.copies(to_unit(images)).sum()),
            samples=len(images),
        )
        self.tried.append(tried)
        return tried

    def edit(self, prompt: str) -> bool:
        """Greedy: of all prompts one edit away, ordered by text-noise norm, bisect for the band.

        Where all are too strong or too mild, the next edit begins from the one with the lowest norm
        that still generates copies too often.
        """
        words = tuple(prompt.split())
        for _ in range(EDITS):
            before = len(self.tried)
            if self.bisect(self.ranked(words)):
                return True
            high = self.settings.copy_band[1]
            strong = [tried for tried in self.tried[before:] if tried.share > high]
            if not strong or self.exhausted:
                return False
            words = tuple(min(strong, key=lambda tried: tried.norm).text.split())
        return False

    def bisect(self, prompts: Sequence[str]) -> bool:
        """Whether one in the band was met, of prompts whose shares are assumed to fall."""
        low, high = 0, len(prompts)
        while low < high and not self.exhausted:
            middle = (low + high) // 2
            tried = self.probe(prompts[middle])
            if self.holds(tried):
                return True
            if tried.share > self.settings.copy_band[1]:
                low = middle + 1
            else:
                high = middle
        return False

    def ranked(self, words: tuple[str, ...]) -> list[str]:
        """Prompts one edit away with a lower norm than `words`, the highest norm first."""
        here = self.norms([" ".join(words)])[0]
        shorter = self.readable(drops(words))
        places = list(range(len(words)))[:SALIENT]
        norms: list[float] = []
        if len(shorter) == len(words):
            norms = self.norms(shorter)
            places = np.argsort(norms)[:SALIENT].tolist()  # whose absence lowers the norm most
        others = self.readable(replacements(words, places) + insertions(words, places))
        texts = [*shorter, *others]
        norms = [*norms, *self.norms(texts[len(norms) :])]
        order = sorted(range(len(texts)), key=lambda i: -norms[i])
        return list(dict.fromkeys(texts[i] for i in order if norms[i] < here))

    def readable(self, candidates: Sequence[tuple[str, ...]]) -> list[str]:
        """Candidates as text, without those that the text encoder would cut."""
        kept = []
        for text in map(" ".join, candidates):
            try:
                self.sampler.denoiser.prompts.check([text])
            except RequestError:
                continue
            kept.append(text)
        return kept


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
