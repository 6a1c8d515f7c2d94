"""A search for a prompt that generates copies only sometimes: what is tried, and how."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from efface.diffusion.denoiser import Condition
from efface.requests.memorised.sampling import PromptSampler, to_unit
from efface.requests.memorised.similarity import CopyDetector
from efface.requests.memorised.text_noise import text_noise_norms

UNCHANGED, GIVEN = "unchanged", "given"  # ways, beside those of the search


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A modified prompt and how many of its samples are copies."""

    way: str  # UNCHANGED, GIVEN, "tokens" or "embedding"
    text: str | None  # the prompt; None: an embedding that no prompt has
    weight: float | None  # of the descended embedding, 1 minus that of the original one
    norm: float
    copies: int
    images: int

    @property
    def share(self) -> float:
        return self.copies / self.images

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"share": self.share}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Tried:
        return cls(**{k: v for k, v in content.items() if k != "share"})


@dataclass(eq=False, kw_only=True)
class Prober:
    """Samples a candidate and counts copies; records all that was tried.

    The same seeds serve every candidate. `left` tries remain. A prompt is partly memorised where
    the share of copies lies between `low` and `high`.
    """

    sampler: PromptSampler
    detector: CopyDetector
    low: float
    high: float
    seeds: range
    norm_seeds: range
    left: int
    tried: list[Tried] = field(default_factory=list)

    def holds(self, tried: Tried) -> bool:
        return self.low <= tried.share <= self.high

    def norms(self, conditions: Condition) -> list[float]:
        """Text-noise norms of conditions, (P,), means over draws."""
        return text_noise_norms(self.sampler.denoiser, conditions, self.norm_seeds).mean(1).tolist()

    def __call__(
        self, condition: Condition, way: str, text: str | None = None, weight: float | None = None
    ) -> Tried:
        """Try one row of a condition."""
        self.left -= 1
        images = self.sampler.sample_one(condition, self.seeds, "a modified prompt")
        tried = Tried(
            way=way,
            text=text,
            weight=weight,
            norm=self.norms(condition)[0],
            copies=int(self.detector.copies(to_unit(images)).sum()),
            images=len(images),
        )
        self.tried.append(tried)
        return tried


def bisect(count: int, probe: Callable[[int], Tried], prober: Prober) -> int | None:
    """The number of a candidate in the band, of `count` that are ordered from mild to strong.

    Shares are assumed to fall along the list; None where no candidate in the band was met.
    """
    low, high = 0, count
    while low < high and prober.left > 0:
        middle = (low + high) // 2
        tried = probe(middle)
        if prober.holds(tried):
            return middle
        if tried.share > prober.high:
            low = middle + 1
        else:
            high = middle
    return None
