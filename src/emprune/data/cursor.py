"""Cursor: how far a pass over one rank's shard of a plan has come."""

from collections.abc import Sequence

import torch
from torch import Tensor

from emprune.data.shard import Shard

__all__ = ["Cursor"]


class Cursor:
    """Which samples of a shard were handed out: those up to a point, and batches that overtook others.

    Batches overtake with ``in_order=False``, and where one was lost to an exception.

    Args:
        shard: One rank's shard of the plan.
        rest: (K',) int64, the part of it that is to be delivered; None for all.

    Example:
        >>> cursor = Cursor(Shard(index=torch.tensor([4, 1, 3, 0]), num_left=4))
        >>> cursor.add(torch.tensor([3, 0]))
        >>> cursor.remaining.tolist(), cursor.saved()
        ([4, 1], (0, [3, 0]))
        >>> cursor.add(torch.tensor([4, 1]))
        >>> cursor.remaining.tolist(), cursor.saved()
        ([], (4, []))
    """

    def __init__(self, shard: Shard, rest: Tensor | None = None) -> None:
        self.shard = shard
        self.rest = shard.index if rest is None else rest
        self._next, self._head = 0, _first(self.rest)
        self._ahead: dict[int, Tensor] = {}
        self._num_ahead = 0

    @classmethod
    def resumed(cls, shard: Shard, ahead: Sequence[int]) -> "Cursor":
        """Return the cursor of a shard from which samples were handed out that lie ahead."""
        return cls(shard, _without(shard.index, shard.index.new_tensor(ahead)))

    @property
    def has_begun(self) -> bool:
        """Whether anything was handed out."""
        return self._next > 0 or bool(self._ahead)

    @property
    def last(self) -> int:
        """How many samples are in the last batch of the rest, if it is not simply what is left."""
        ends_alike = len(self.rest) > 0 and bool(self.rest[-1] == self.shard.index[-1])
        return self.shard.last if ends_alike else 0

    @property
    def remaining(self) -> Tensor:
        """What was not handed out yet, in order."""
        left = self.rest[self._next :]
        return _without(left, torch.cat(list(self._ahead.values()))) if self._ahead else left

    @property
    def num_remaining(self) -> int:
        """How many samples were not handed out yet; unlike `remaining` it costs nothing."""
        return len(self.rest) - self._next - self._num_ahead

    @property
    def num_delivered(self) -> int:
        """Samples of the epoch's plan that this rank was handed, before a load too."""
        return self.shard.num_before // self.shard.world_size + len(self.shard.index) - self.num_remaining

    def is_next(self, index: Tensor) -> bool:
        """Whether a batch comes in its turn."""
        return _first(index) == self._head

    def add(self, index: Tensor) -> None:
        """Count a batch as handed out."""
        if not self.is_next(index):
            self._num_ahead += len(index) - len(self._ahead.get(_first(index), ()))
            self._ahead[_first(index)] = index.clone()  # the loop may write to its own
            return
        self._advance(len(index))
        while (batch := self._ahead.pop(self._head, None)) is not None:
            self._num_ahead -= len(batch)
            self._advance(len(batch))

    def _advance(self, size: int) -> None:
        self._next += size
        self._head = _first(self.rest, self._next)

    def saved(self) -> tuple[int, list[int]]:
        """Return how many samples were handed out without a gap, and which ones (dataset positions) beyond that.

        The former are counted in the plan, over all ranks; the latter are this rank's.
        """
        remaining, index = self.remaining, self.shard.index
        count = len(index) - len(remaining)
        if remaining.equal(index[count:]):
            return self.shard.num_delivered(count), []
        delivered = ~torch.isin(index, remaining)
        count = int(delivered.logical_not().nonzero()[0])
        return self.shard.num_delivered(count), index[count:][delivered[count:]].tolist()


def _first(index: Tensor, start: int = 0) -> int:
    """Return the sample at a position, or -1 at the end; reading it from a tensor takes many times as long."""
    return int(index.numpy()[start]) if start < len(index) else -1


def _without(index: Tensor, gone: Tensor) -> Tensor:
    return index[~torch.isin(index, gone)] if len(gone) else index
