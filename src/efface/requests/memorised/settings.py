"""Settings of requests to forget a memorised picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from efface.errors import ConfigError
from efface.requests.memorised.verdict import LEAST_CONTROLS

Way = Literal["tokens", "embedding"]
WORDS = ("another", "new", "old", "small", "bright", "different")


@dataclass(frozen=True, kw_only=True)
class MemorisedConfig:
    """How a memorised picture is found and parted from others, addressed as `memorised.NAME`."""

    force: bool = False  # go on where nothing memorised was found
    seed: int = 0  # of all pictures that are drawn before training
    controls: int = LEAST_CONTROLS  # control prompts that the verdict compares with
    control_images: int = 4  # pictures of each, and as many of the prompt beside them
    samples: int = 16  # pictures per prompt: for the verdict, and before and after
    noises: int = 8  # draws that a text-noise norm is the mean of
    extractor: str | None = None  # a transformers model to compare pictures with; None: pixels
    extractor_sha256: str | None = None  # refused unless it is this one
    copy_similarity: float | None = None  # what makes a copy; None: calibrated on the controls
    search: tuple[Way, ...] = ("embedding", "tokens")  # ways to loosen a prompt, in this order
    search_images: int = 16  # pictures of every prompt that is tried
    tries: int = 24  # prompts of which pictures are drawn, per way
    least_share: float = 0.2  # of copies, for a prompt to count as partly memorised
    most_share: float = 0.8
    edits: int = 4  # words changed at most
    words: tuple[str, ...] = WORDS  # what is put in or in place of a word
    descent_steps: int = 15
    descent_rate: float = 0.05
    target_norm: float | None = None  # where a descent ends; None: the control prompts' median
    images: int = 100  # of the synthetic set
    split: Literal["kmeans", "similarity"] = "similarity"
    least_rows: int = 4  # pictures that either side of the split has at least
    undecided: float = 0.5  # of pictures that are no copies, the most alike: on neither side
    original_share: float = 0.5  # of pairs asked for under the original prompt; 0 as published
    control_share: float = 0.0  # of rows: pictures of control prompts, which only stay
    stop_images: int = 256  # of each prompt: none may be a copy for train.stop_every to stop

    def __post_init__(self) -> None:
        if self.extractor is None and self.extractor_sha256 is not None:
            raise ConfigError(
                "memorised.extractor_sha256 is of no use alone: give memorised.extractor too."
            )
        for name in ("control_images", "samples", "search_images", "images"):
            if getattr(self, name) < 2:
                raise ConfigError(
                    f"memorised.{name} is {getattr(self, name)}: pictures are compared with one "
                    "another, give 2 or more."
                )
        counts = ("noises", "tries", "edits", "descent_steps", "least_rows", "stop_images")
        for name in (*counts, "descent_rate"):
            if getattr(self, name) <= 0:
                raise ConfigError(
                    f"memorised.{name} is {getattr(self, name)}: give a number above 0."
                )
        if not self.search or not self.words or not all(map(str.strip, self.words)):
            raise ConfigError(
                "memorised.search or memorised.words is empty or holds an empty word: name a way, "
                "and words to put in."
            )
        if self.controls < LEAST_CONTROLS:
            raise ConfigError(
                f"memorised.controls is {self.controls}: a verdict with false alarms in 5 % of "
                f"cases needs at least {LEAST_CONTROLS} control prompts."
            )
        if not 0 < self.least_share < self.most_share < 1:
            raise ConfigError(
                f"memorised.least_share {self.least_share} and memorised.most_share "
                f"{self.most_share} are no band: give shares between 0 and 1, the first one "
                "smaller."
            )
        if not 0 <= self.original_share <= 1:
            raise ConfigError(
                f"memorised.original_share is {self.original_share}: give a share from 0 to 1."
            )
        for name in ("undecided", "control_share"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(
                    f"memorised.{name} is {getattr(self, name)}: give a share from 0 to below 1."
                )
        if self.copy_similarity is not None and not -1 < self.copy_similarity < 1:
            raise ConfigError(
                f"memorised.copy_similarity is {self.copy_similarity}: a cosine lies between -1 "
                "and 1."
            )
