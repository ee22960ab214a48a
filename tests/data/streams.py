"""Small streams that know their positions, and say what was read of them; at module level, for spawned workers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from emprune.data import KeyedStream


@dataclass(frozen=True)
class Shards:
    """A shard named "s2" holds the samples of the third shard; each is its position, as text, under its key.

    Args:
        sizes: Samples in each shard.
        log: A file to which each shard that is opened is written, with the process; None for none.
    """

    sizes: Sequence[int]
    log: Path | None = None

    def __call__(self, shard: str) -> Iterator[tuple[str, str]]:
        number = int(shard[1:])
        if self.log is not None:
            with self.log.open("a") as file:
                file.write(f"open {shard}\n")
        start = sum(self.sizes[:number])
        for position in range(start, start + self.sizes[number]):
            yield f"key{position}", str(position)


@dataclass(frozen=True)
class Decode:
    """Turns text into a tensor, and writes down what it has decoded; fails, or leaves out, where it is told to."""

    log: Path | None = None
    failing: int = -1

    def __call__(self, sample: str) -> Tensor:
        if self.log is not None:
            with self.log.open("a") as file:
                file.write(f"decode {sample}\n")
        if int(sample) == self.failing:
            raise ValueError(f"sample {sample} is broken")
        return torch.tensor(int(sample))


def names(sizes: Sequence[int]) -> list[str]:
    return [f"s{number}" for number in range(len(sizes))]


def keyed(sizes: Sequence[int], *, log: Path | None = None, failing: int = -1) -> KeyedStream:
    """A stream of shards of these sizes."""
    stream = KeyedStream(Shards(sizes, log), decode=Decode(log, failing), shards=names(sizes))
    if log is not None:
        log.unlink()  # what the index has opened
    return stream
