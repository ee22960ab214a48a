"""What the DataLoader inside asks a worker for: a batch, and how far to read for it.

Hard, because a stream can only be read forwards, and must not decode what the plan leaves out. The route says
beforehand in which order the samples are handed out. Here it is said how far a worker must read for each batch::

    in the stream   0 1 2 3 4 5 6 7 8 9 ...
    in the plan     0     3 4   6   8 9          the worker passes over the others
    handed out      [3 0] [6 9] [4 8]            shuffled within a window
    take            0 3   4 6 8 9                so far is read for each batch: what comes later is held, undecoded

A worker does what its requests say, and decides nothing. A sample travels by its position, from here to the loss.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np
from torch.utils.data import Sampler

from emprune.data.cursor import Cursor
from emprune.data.sampler import PlanBatchSampler
from emprune.data.shard import batch_slices
from emprune.data.streams.index import Positions
from emprune.data.streams.route import Route

__all__ = ["BatchRequest", "RequestSampler"]


@dataclass(frozen=True, slots=True, eq=False)
class BatchRequest:
    """A batch that is asked for.

    Attributes:
        index: The batch's samples, in its order.
        take: (T,) int64, the samples to be read for it, in the order of the stream.
        lane: Which of the rank's readings they belong to.
        pass_number: Which pass over an epoch the request belongs to; a new pass begins with new readings.
        is_last: Whether it is the last of its lane in the pass.
        check: Whether each shard is read to its end, and its samples counted.
    """

    index: list[int]
    take: Positions
    lane: int
    pass_number: int
    is_last: bool
    check: bool


class RequestSampler(Sampler[BatchRequest]):
    """Yields the requests of a pass over one rank's part of an epoch.

    Args:
        batch_size: Samples per batch.
        route: Where the samples are.
    """

    def __init__(self, batch_size: int, route: Route) -> None:
        self.batch_size = batch_size
        self._route = route
        self._passes = count()
        self._plain = PlanBatchSampler(batch_size)
        self._cursor: Cursor | None = None
        self._epoch, self._num_lanes = 0, 1

    def deliver(self, cursor: Cursor, *, epoch: int, num_lanes: int) -> None:
        """Set what iterators ask for from now on."""
        self._plain.deliver(cursor.rest, last=cursor.last)
        self._cursor, self._epoch, self._num_lanes = cursor, epoch, num_lanes

    def __len__(self) -> int:
        return len(self._plain)

    def __iter__(self) -> Iterator[BatchRequest]:
        len(self._plain)  # raises where no epoch has begun
        assert self._cursor is not None
        return self._requests(self._cursor, next(self._passes))

    def num_passed_over(self, cursor: Cursor) -> int:
        """Return how many samples a pass from a cursor on reads past."""
        lanes = self._readings(cursor).values()
        return sum(int(self._route.gaps(reading.samples, to_end=self._epoch == 0).sum()) for reading in lanes)

    def _requests(self, cursor: Cursor, pass_number: int) -> Iterator[BatchRequest]:
        rest, check, readings = cursor.rest.numpy(), self._epoch == 0, self._readings(cursor)
        parts = batch_slices(len(rest), self.batch_size, cursor.last)
        for part, lane in zip(parts, self._lanes(cursor), strict=True):
            take, is_last = readings[lane].next()
            yield BatchRequest(
                index=rest[part].tolist(),
                take=take,
                lane=lane,
                pass_number=pass_number,
                is_last=is_last,
                check=check,
            )

    def _readings(self, cursor: Cursor) -> dict[int, "_Reading"]:
        """Return what each lane reads, and how far for each of its batches."""
        rest = cursor.rest.numpy()
        place = self._route.places(rest, self._epoch)
        number = np.arange(len(rest)) // self.batch_size  # of each sample's batch; the last ones may be short
        parts = list(batch_slices(len(rest), self.batch_size, cursor.last))
        number[parts[-1].start if parts else 0 :] = len(parts) - 1
        furthest = np.maximum.reduceat(place, [part.start for part in parts]) if parts else place
        lanes = np.array(self._lanes(cursor), dtype=np.int64)
        readings = {}
        for lane in np.unique(lanes).tolist():
            mine = lanes[number] == lane
            in_order = np.argsort(place[mine])
            far = np.maximum.accumulate(furthest[lanes == lane])
            ends = np.searchsorted(place[mine][in_order], far, side="right")
            readings[lane] = _Reading(rest[mine][in_order], ends.tolist())
        return readings

    def _lanes(self, cursor: Cursor) -> list[int]:
        """Return which lane each batch of the rest belongs to, by its number among all batches of the shard."""
        shard = cursor.shard.index
        firsts = [part.start for part in batch_slices(len(shard), self.batch_size, cursor.shard.last)]
        left = np.flatnonzero(np.isin(shard.numpy()[firsts], cursor.rest.numpy()))
        lanes: list[int] = (left % self._num_lanes).tolist()
        return lanes


class _Reading:
    """What one lane reads: its samples in the order of the stream, and how many of them each of its batches needs."""

    def __init__(self, samples: Positions, ends: list[int]) -> None:
        self.samples = samples
        self._ends, self._next = ends, 0

    def next(self) -> tuple[Positions, bool]:
        """Return the samples to be read for the next batch, and whether it is the lane's last."""
        start = self._ends[self._next - 1] if self._next else 0
        end = self._ends[self._next]
        self._next += 1
        return self.samples[start:end], self._next == len(self._ends)
