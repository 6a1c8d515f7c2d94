"""Samples drawn once and looked at by all who need them; sample i depends on seed i alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from accelerate import PartialState
from accelerate.utils import gather_object
from torch import Tensor

from efface.diffusion.denoiser import Denoiser
from efface.diffusion.sampling import Sampler, draw_images
from efface.evaluation.store import Arrays, Store
from efface.progress import Bar


@dataclass(frozen=True, eq=False, kw_only=True)
class Subject:
    """A model, how it is to be sampled, and a digest of its files (None: never kept)."""

    denoiser: Denoiser
    sampler: Sampler
    digest: str | None = None


class Observer(Protocol):
    """What is kept of samples once they are gone."""

    @property
    def digest(self) -> str:
        """Changes whenever the same images would give other arrays."""
        ...

    def __call__(self, images: Tensor) -> Arrays:
        """Arrays of B rows from images (B, C, H, W) in [0, 1]."""
        ...


@dataclass(frozen=True, eq=False, kw_only=True)
class SampleSet:
    """Which samples of a model: sample i is drawn from seeds[i] and asked for under asked[i]."""

    subject: Subject
    seeds: range
    asked: Sequence[int] | Sequence[str] | None = None  # labels, prompts; None: no conditions
    batch_size: int = 250

    def key(self, observer: Observer) -> dict[str, Any] | None:
        """What an observer's arrays depend on; the batch size is no part of it."""
        if self.subject.digest is None:
            return None
        return {
            "model": self.subject.digest,
            "sampler": repr(self.subject.sampler),
            "seeds": [self.seeds.start, self.seeds.stop, self.seeds.step],
            "asked": _name_asked(self.asked),
            "observer": observer.digest,
        }

    def images(self, rows: Sequence[int]) -> Tensor:
        """Samples `rows` drawn again: (len(rows), C, H, W) in [0, 1]."""
        return _draw(self, rows)


def _name_asked(asked: Sequence[int] | Sequence[str] | None) -> list[int] | str | None:
    """Labels as they are; of prompts, which may be anybody's, the SHA-256."""
    if asked is None:
        return None
    if any(isinstance(one, str) for one in asked):
        return hashlib.sha256(json.dumps(list(asked)).encode()).hexdigest()
    return [int(label) for label in asked]


def observe(
    samples: SampleSet, observers: Mapping[str, Observer], store: Store, what: str
) -> dict[str, Arrays]:
    """What each observer saw of all samples, drawing them only if one has not seen them yet.

    Samples are drawn batch by batch, shared among processes, and not kept.
    """
    keys = {name: samples.key(observer) for name, observer in observers.items()}
    kept = {name: None if key is None else store.get(key) for name, key in keys.items()}
    # A store may be seen differently by different processes; all of them draw, or none.
    missing = sorted({name for names in _gather([n for n in kept if kept[n] is None])
                      for name in names})  # fmt: skip
    seen = {name: arrays for name, arrays in kept.items() if arrays is not None}
    if missing:
        drawn = _look(samples, {name: observers[name] for name in missing}, what)
        for name in missing:
            seen[name] = drawn[name]
            key = keys[name]
            if key is not None and PartialState().is_main_process:
                store.put(key, seen[name])
    return {name: seen[name] for name in observers}


def _look(samples: SampleSet, observers: Mapping[str, Observer], what: str) -> dict[str, Arrays]:
    state = PartialState()
    own = np.array_split(np.arange(len(samples.seeds)), state.num_processes)[state.process_index]
    parts: list[dict[str, Arrays]] = []
    with Bar(what, len(own), unit="images", hidden=not state.is_main_process) as bar:
        for start in range(0, len(own), samples.batch_size):
            rows = own[start : start + samples.batch_size].tolist()
            images = _draw(samples, rows)
            parts.append({name: observer(images) for name, observer in observers.items()})
            bar.advance(len(rows))
    parts = [part for process in _gather(parts) for part in process]
    return {
        name: {array: np.concatenate([part[name][array] for part in parts])
               for array in parts[0][name]}
        for name in observers
    }  # fmt: skip


def _draw(samples: SampleSet, rows: Sequence[int]) -> Tensor:
    denoiser = samples.subject.denoiser
    asked = samples.asked
    condition = None if asked is None else denoiser.encode([asked[i] for i in rows])
    seeds = [samples.seeds[i] for i in rows]
    return draw_images(denoiser, samples.subject.sampler, condition, seeds, samples.batch_size)


def _gather(value: Any) -> list[Any]:
    """The value of every process, in order."""
    return gather_object([value]) if PartialState().num_processes > 1 else [value]
