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
from torch import Tensor
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
        num_passed_over: Samples that lie between those that are read.
        is_last: Whether it is the last of its lane in the pass.
        check: Whether each shard is read to its end, and its samples counted.
    """

    index: list[int]
    take: Positions
    lane: int
    pass_number: int
    num_passed_over: int
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
        return iter(self._requests(self._cursor, next(self._passes)))

    def num_passed_over(self, cursor: Cursor) -> int:
        """Return how many samples a pass from a cursor on reads past."""
        return sum(request.num_passed_over for request in self._requests(cursor, -1))

    def _requests(self, cursor: Cursor, pass_number: int) -> list[BatchRequest]:
        rest, parts = cursor.rest.numpy(), list(batch_slices(len(cursor.rest), self.batch_size, cursor.last))
        place = self._route.places(rest, self._epoch)
        lanes = _lanes(cursor, self.batch_size, self._num_lanes)
        check = self._epoch == 0
        found: dict[int, BatchRequest] = {}
        for lane in np.unique(lanes).tolist():
            numbers = np.flatnonzero(lanes == lane).tolist()
            mine = np.concatenate([place[parts[n]] for n in numbers])
            in_order = np.argsort(mine)
            samples, mine = np.concatenate([rest[parts[n]] for n in numbers])[in_order], mine[in_order]
            furthest = np.maximum.accumulate([place[parts[n]].max() for n in numbers])
            ends = np.searchsorted(mine, furthest, side="right")
            passed = np.concatenate([[0], np.cumsum(self._route.gaps(samples, to_end=check))])
            starts = np.concatenate([[0], ends[:-1]])
            for number, start, end in zip(numbers, starts.tolist(), ends.tolist(), strict=True):
                found[number] = BatchRequest(
                    index=rest[parts[number]].tolist(),
                    take=samples[start:end],
                    lane=lane,
                    pass_number=pass_number,
                    num_passed_over=int(passed[end] - passed[start]),
                    is_last=number == numbers[-1],
                    check=check,
                )
        return [found[number] for number in range(len(parts))]


def _lanes(cursor: Cursor, batch_size: int, num_lanes: int) -> Positions:
    """Return which lane each batch of the rest belongs to, by its number among all batches of the shard."""
    shard: Tensor = cursor.shard.index
    firsts = [part.start for part in batch_slices(len(shard), batch_size, cursor.shard.last)]
    left = np.flatnonzero(np.isin(shard.numpy()[firsts], cursor.rest.numpy()))
    return left % num_lanes
