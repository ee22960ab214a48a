"""The worker's side: reads forwards what it is asked for, holds it undecoded, decodes what is handed out."""

from typing import Any

import numpy as np

from emprune.data.indexed import AroundDataset, IndexedSamples
from emprune.data.streams.index import Positions
from emprune.data.streams.requests import BatchRequest
from emprune.data.streams.stream import LEFT_OUT, OpenShard, ShardedStream
from emprune.errors import ConfigError

__all__ = ["StreamReader"]


class StreamReader(AroundDataset):
    """Gives the samples of requests, with their positions.

    Args:
        dataset: The stream.
    """

    _own = AroundDataset._own | {"_lanes"}

    def __init__(self, dataset: ShardedStream) -> None:
        super().__init__(dataset)
        self._lanes: dict[int, _Lane] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_lanes": {}}  # open files stay where they are

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def first(self, request: BatchRequest) -> int:  # noqa: D102 - inherited
        return request.index[0]

    def fetch(self, request: BatchRequest) -> IndexedSamples:
        """Read as far as a batch needs, and decode it."""
        lane = self._lanes.get(request.lane)
        if lane is None or lane.pass_number != request.pass_number:
            for old in self._lanes.values():
                if old.pass_number != request.pass_number:
                    old.close()
            lane = self._lanes[request.lane] = _Lane(self.dataset, request.pass_number)
        lane.take(request.take, check=request.check)
        if request.is_last:
            lane.finish(check=request.check)
        return self._decoded(request.index, [lane.give(position) for position in request.index])

    def read(self, index: list[int]) -> IndexedSamples:
        """Read and decode some samples, outside of any pass."""
        return self._decoded(index, [_read_alone(self.dataset, position) for position in index])

    def _decoded(self, index: list[int], samples: list[Any]) -> IndexedSamples:
        decoded = [self.dataset.decode(sample) for sample in samples]
        kept = [number for number, sample in enumerate(decoded) if sample is not LEFT_OUT]
        if len(kept) == len(index):
            return IndexedSamples(index, decoded)
        if not kept:
            keys = ", ".join(self.dataset.index.key(position) for position in index[:5])
            raise ConfigError(
                f"A batch must keep at least one sample; got none of {len(index)} that could be decoded ({keys}, ...). "
                "Look at these samples, and at what the handler hides. If they are few, make the batches larger."
            )
        return IndexedSamples([index[n] for n in kept], [decoded[n] for n in kept], asked=index)


class _Lane:
    """One reading, forwards through its shards."""

    def __init__(self, stream: ShardedStream, pass_number: int) -> None:
        self.pass_number = pass_number
        self._stream = stream
        self._held: dict[int, Any] = {}
        self._shard = -1
        self._opened: OpenShard | None = None

    def take(self, positions: Positions, *, check: bool) -> None:
        """Read samples, which come in the order of the stream, and hold them undecoded."""
        for position, shard, row in zip(
            positions.tolist(), *map(np.ndarray.tolist, self._stream.index.locate(positions)), strict=True
        ):
            if shard != self._shard or self._opened is None:
                self.finish(check=check)
                self._shard, self._opened = shard, self._stream.open(shard)
            try:
                self._held[position] = self._opened.read(row)
            except BaseException:
                self.finish(check=False)  # what failed once cannot be read on: the next one opens the shard again
                raise

    def give(self, position: int) -> Any:
        """Return a sample that was read, and hold it no longer; one that a failure has lost is read again."""
        if position in self._held:
            return self._held.pop(position)
        return _read_alone(self._stream, position)

    def finish(self, *, check: bool) -> None:
        """Leave the shard."""
        opened, self._opened = self._opened, None
        if opened is not None:
            try:
                if check:
                    opened.finish()
            finally:
                opened.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Leave the reading."""
        self._held.clear()
        self.finish(check=False)


def _read_alone(stream: ShardedStream, position: int) -> Any:
    """Return one sample, from a shard that is opened for it."""
    shard, row = stream.index.locate(np.array([position]))
    opened = stream.open(int(shard[0]))
    try:
        return opened.read(int(row[0]))
    finally:
        opened.close()
