"""Samples generated once for all observers; sample i depends on seed i alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from torch import Tensor

from efface.data.split import distances
from efface.diffusion.denoiser import Denoiser
from efface.diffusion.sampling import Sampler, draw_images
from efface.evaluation.store import Arrays, Store, digest_of_array, digest_of_json
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


class PixelObserver:
    """The samples themselves at eight bits, (B, C, H, W) uint8: for few of them."""

    digest = "pixels"

    def __call__(self, images: Tensor) -> Arrays:
        return {"pixels": images.mul(255).round().byte().numpy()}


@dataclass(frozen=True, eq=False, kw_only=True)
class DistanceObserver:
    """Distances (B, K) to given images (K, C, H, W) or their mirror images: L2, pixels 0 to 1."""

    images: Tensor

    @property
    def digest(self) -> str:
        return f"distances, mirrored too {digest_of_array(self.images.cpu().numpy())}"

    def __call__(self, images: Tensor) -> Arrays:
        return {"distances": distances(images, self.images).cpu().numpy()}


Asked = Sequence[int] | Sequence[str]  # labels or prompts


@dataclass(frozen=True, eq=False, kw_only=True)
class SampleSet:
    """Which samples of a model: sample i has seeds[i] and is conditioned on asked[i]."""

    subject: Subject
    seeds: Sequence[int]
    asked: Asked | None = None  # None: no conditions
    batch_size: int = 250

    def key(self, observer: Observer) -> dict[str, Any] | None:
        """What an observer's arrays depend on; the batch size is no part of it."""
        if self.subject.digest is None:
            return None
        return {
            "model": self.subject.digest,
            "sampler": repr(self.subject.sampler),
            "seeds": _name_seeds(self.seeds),
            "asked": _name_asked(self.asked),
            "observer": observer.digest,
        }

    def only(self, rows: Sequence[int]) -> "SampleSet":
        """Samples `rows` of these."""
        return replace(
            self,
            seeds=[self.seeds[row] for row in rows],
            asked=None if self.asked is None else [self.asked[row] for row in rows],
        )


def _name_seeds(seeds: Sequence[int]) -> list[int] | dict[str, list[int]]:
    if isinstance(seeds, range):
        return [seeds.start, seeds.stop, seeds.step]
    return {"each": list(seeds)}


def _name_asked(asked: Asked | None) -> list[int] | str | None:
    """Labels as they are; of prompts, which may be anybody's, the SHA-256."""
    if asked is None:
        return None
    if any(isinstance(one, str) for one in asked):
        return digest_of_json(list(asked))
    return [int(label) for label in asked]


def observe(
    samples: SampleSet, observers: Mapping[str, Observer], store: Store, what: str
) -> dict[str, Arrays]:
    """What each observer saw of all samples, generated only if one has not seen them yet.

    Samples are generated batch by batch, shared among processes, and not kept.
    """
    keys = {name: samples.key(observer) for name, observer in observers.items()}
    kept = {name: store.get(key) for name, key in keys.items()}
    # A store may be seen differently by different processes; all of them draw, or none.
    lacking = [name for name, arrays in kept.items() if arrays is None]
    missing = sorted(set(gather_object(lacking)))
    seen = {name: arrays for name, arrays in kept.items() if arrays is not None}
    if missing:
        drawn = _look(samples, {name: observers[name] for name in missing}, what)
        for name in missing:
            seen[name] = drawn[name]
            if PartialState().is_main_process:
                store.put(keys[name], seen[name])
    return {name: seen[name] for name in observers}


def draw_kept(samples: SampleSet, store: Store, what: str) -> Tensor:
    """The samples themselves at eight bits, (N, C, H, W) in [0, 1]: for few of them."""
    pixels = observe(samples, {"pixels": PixelObserver()}, store, what)["pixels"]["pixels"]
    return torch.from_numpy(pixels).float() / 255


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
    parts = gather_object(parts)
    return {
        name: {array: np.concatenate([part[name][array] for part in parts])
               for array in parts[0][name]}
        for name in observers
    }  # fmt: skip


def _draw(samples: SampleSet, rows: Sequence[int]) -> Tensor:
    denoiser = samples.subject.denoiser
    some = samples.only(rows)
    condition = None if some.asked is None else denoiser.encode(some.asked)
    return draw_images(denoiser, some.subject.sampler, condition, some.seeds, some.batch_size)
