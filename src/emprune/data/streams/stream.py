"""What a stream must offer: shards that are read forwards, samples that are decoded one by one."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from emprune.data.streams.index import Positions, StreamIndex
from emprune.errors import ConfigError

__all__ = ["LEFT_OUT", "KeyedStream", "OpenShard", "ShardedStream", "in_stream_order"]


class _LeftOut:
    def __repr__(self) -> str:
        return "LEFT_OUT"

    def __reduce__(self) -> str:
        return "LEFT_OUT"


LEFT_OUT = _LeftOut()
"""What `ShardedStream.decode` returns for a sample that is to be left out, such as a damaged one."""


class OpenShard(ABC):
    """A shard that is being read, from its first sample on."""

    @abstractmethod
    def read(self, row: int) -> Any:
        """Return an undecoded sample, and pass over those before it. Rows are asked for in increasing order.

        Raises:
            ConfigError: If the sample found there is not the one of the index.
        """

    def finish(self) -> None:  # noqa: B027 - nothing is left to be checked where `read` or `open` has seen it
        """Read on to the shard's end; raise ConfigError unless it has as many samples as the index says."""

    def close(self) -> None:  # noqa: B027 - where there is nothing to close
        """Let go of what is open."""


class ShardedStream(IterableDataset[Any], ABC):
    """Data that is read shard by shard, with an index of what the shards hold. Derive from it to make a stream known.

    A pass over the stream itself gives all samples, decoded, in the order of the index.

    Args:
        index: The samples.
    """

    def __init__(self, index: StreamIndex) -> None:
        self.index = index

    @abstractmethod
    def open(self, shard: int) -> OpenShard:
        """Open a shard, by its number in the index."""

    def decode(self, sample: Any) -> Any:
        """Return a sample ready for the collate function; `LEFT_OUT` to leave it out. By default it is as it was read.

        Args:
            sample: What `OpenShard.read` returned.
        """
        return sample

    def __len__(self) -> int:
        return self.index.num_samples

    def __iter__(self) -> Iterator[Any]:
        return in_stream_order(self, np.arange(self.index.num_samples))


class KeyedStream(ShardedStream):
    """A stream of your own: a function that gives a shard's samples with their keys.

    Args:
        samples: ``samples(shard) -> iterable of (key, sample)``, by the shard's name. The sample should be undecoded.
        decode: Decodes a sample; None where there is nothing to decode.
        index: The samples; None to read all shards once now, without decoding.
        shards: The shards' names, where no index is given.

    Raises:
        ConfigError: If neither an index nor shards are given, or the keys are no index.

    Example:
        >>> lines = {"a": [("0", "1.5"), ("1", "2.5")], "b": [("2", "3.5")]}
        >>> stream = KeyedStream(lines.__getitem__, decode=float, shards=["a", "b"])
        >>> list(stream), stream.index
        ([1.5, 2.5, 3.5], StreamIndex(3 samples in 2 shards))
    """

    def __init__(
        self,
        samples: Callable[[str], Iterable[tuple[str, Any]]],
        *,
        decode: Callable[[Any], Any] | None = None,
        index: StreamIndex | None = None,
        shards: Iterable[str] | None = None,
    ) -> None:
        if (index is None) == (shards is None):
            raise ConfigError(
                f"Exactly one of `index` and `shards` must be given; got {index=}, {shards=}. Give the shards' names "
                "once, and save the `index` that the stream then has."
            )
        if index is None:
            index = StreamIndex.of((shard, (key for key, _ in samples(shard))) for shard in shards or ())
        super().__init__(index)
        self._samples, self._decode = samples, decode

    def open(self, shard: int) -> OpenShard:
        """Call the function with the shard's name."""
        return _KeyedShard(self._samples(self.index.shards[shard]), self.index, shard)

    def decode(self, sample: Any) -> Any:
        """Call the function that decodes."""
        return sample if self._decode is None else self._decode(sample)


class _KeyedShard(OpenShard):
    def __init__(self, samples: Iterable[tuple[str, Any]], index: StreamIndex, shard: int) -> None:
        self._samples, self._index, self._shard, self._row = iter(samples), index, shard, 0

    def read(self, row: int) -> Any:
        for _ in range(self._row, row):
            self._next()
        return self._next()

    def finish(self) -> None:
        size, more = int(self._index.sizes[self._shard]), 0
        while self._row < size:
            self._next()
        more = sum(1 for _ in self._samples)
        if more:
            raise wrong_size(self._index, self._shard, size + more)

    def _next(self) -> Any:
        found = next(self._samples, None)
        if found is None:
            raise wrong_size(self._index, self._shard, self._row)
        key, sample = found
        check_key(self._index, self._shard, self._row, key)
        self._row += 1
        return sample


def wrong_size(index: StreamIndex, shard: int, found: int) -> ConfigError:
    """Return the error of a shard that has more or fewer samples than the index says."""
    return ConfigError(
        f"The shard {index.shards[shard]!r} must have the {index.sizes[shard]} samples of the index; got {found}. It "
        "has changed since: make the index again, and a new run.",
        parameter="index",
        value=found,
    )


def check_key(index: StreamIndex, shard: int, row: int, key: str) -> None:
    """Raise ConfigError unless a sample that was read is the one of the index."""
    expected = index.key(int(index.starts[shard]) + row)
    if key != expected:
        raise ConfigError(
            f"The shard {index.shards[shard]!r} must hold {expected!r} as its sample {row}; got {key!r}. It has "
            "changed since it was indexed: make the index again, and a new run.",
            parameter="index",
            value=key,
        )


def in_stream_order(stream: ShardedStream, positions: Positions, *, batch_size: int | None = None) -> Iterator[Any]:
    """Yield decoded samples in the order of the index; in a DataLoader's workers each yields a part.

    Args:
        stream: The stream.
        positions: (M,) int64, which samples, each once.
        batch_size: The DataLoader's. Workers take turns, a batch each, so what they yield together is in order. None
            where it is not known: each worker then yields a stretch of its own.
    """
    info = get_worker_info()
    positions = np.sort(positions)
    if info is not None:
        turn = np.arange(len(positions)) // (batch_size or max(1, -(-len(positions) // info.num_workers)))
        positions = positions[turn % info.num_workers == info.id]
    shards, rows = stream.index.locate(positions)
    begins = np.flatnonzero(np.diff(shards, prepend=-1))
    for shard, of_shard in zip(shards[begins].tolist(), np.split(rows, begins)[1:], strict=True):
        opened = stream.open(shard)
        try:
            for row in of_shard.tolist():
                sample = stream.decode(opened.read(row))
                if sample is not LEFT_OUT:
                    yield sample
        finally:
            opened.close()
