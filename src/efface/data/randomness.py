"""Randomness is derived from (seed, step, purpose), never remembered."""

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed that depends on all parts and on nothing else."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


@contextlib.contextmanager
def random_state_kept() -> Iterator[None]:
    """A block, or a function, after which torch's global random state is as before it."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        yield


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count` equal parts of one global batch.

    Processes and accumulation steps both count as parts, so that a run has the same numbers
    however its batch is spread.
    """

    index: int = 0
    count: int = 1

    def rows(self, total: int) -> slice:
        size = total // self.count
        return slice(self.index * size, (self.index + 1) * size)


class RowRandom:
    """Random numbers for the rows of one shard: retained rows first, then forget rows.

    Numbers for the whole global batch are sampled, and this shard's rows are cut out.
    """

    def __init__(
        self, seed: int, shard: Shard, sides: tuple[int, int], device: torch.device | str
    ) -> None:
        self._shard = shard
        self._sides = sides  # rows in this shard
        self._device = torch.device(device)
        self._generator = torch.Generator(self._device).manual_seed(seed)

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        """Unit Gaussian noise, (B, *shape)."""
        return self._sampled(lambda n: self._torch(torch.randn, (n, *shape)))

    def uniform(self) -> Tensor:
        """Uniform numbers in [0, 1), (B,)."""
        return self._sampled(lambda n: self._torch(torch.rand, (n,)))

    def uniforms(self, shape: tuple[int, ...]) -> Tensor:
        """Uniform numbers in [0, 1), (B, *shape)."""
        return self._sampled(lambda n: self._torch(torch.rand, (n, *shape)))

    def stratified(self, share: float) -> Tensor:
        """True for `share` of each side's global rows, exactly but for rounding: (B,) bool.

        Systematic sampling: every row is true with probability `share`, and any rows that follow
        one another hold their share too.
        """

        def strata(count: int) -> Tensor:
            start = self._torch(torch.rand, (1,)).double()
            steps = torch.arange(count + 1, device=self._device, dtype=torch.float64) * share
            return (steps + start).floor().diff() > 0

        return self._sampled(strata)

    def integers(self, low: Tensor | int, high: Tensor | int) -> Tensor:
        """Integers in [low, high), (B,); the bounds may differ by row."""
        # Truncated before `low` is added: the float32 sum could round up to `high`.
        return low + (self.uniform() * (high - low)).long()

    def _torch(self, sample: Callable[..., Tensor], shape: tuple[int, ...]) -> Tensor:
        return sample(shape, generator=self._generator, device=self._device)

    def _sampled(self, sample: Callable[[int], Tensor]) -> Tensor:
        parts = []
        for rows in self._sides:
            total = rows * self._shard.count
            parts.append(sample(total)[self._shard.rows(total)])
        return torch.cat(parts)
