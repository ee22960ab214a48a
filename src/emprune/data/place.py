"""Place: how far a pass over one rank's share of a plan has come."""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["Place"]


class Place:
    """Which samples of a share were handed out: those up to a point, and batches that overtook others.

    Batches overtake with ``in_order=False``, and where one was lost to an exception.

    Args:
        share: (K,) int64, one rank's share of the plan, in order.
        rest: (K',) int64, the part of it that is to be delivered; None for all.

    Example:
        >>> place = Place(torch.tensor([4, 1, 3, 0]))
        >>> place.add(torch.tensor([3, 0]))
        >>> place.remaining.tolist(), place.saved()
        ([4, 1], (0, [3, 0]))
        >>> place.add(torch.tensor([4, 1]))
        >>> place.remaining.tolist(), place.saved()
        ([], (4, []))
    """

    def __init__(self, share: Tensor, rest: Tensor | None = None) -> None:
        self.share = share
        self.rest = share if rest is None else rest
        self._next = 0
        self._ahead: dict[int, Tensor] = {}

    @classmethod
    def resumed(cls, share: Tensor, num_delivered: int, ahead: Sequence[int]) -> "Place":
        """Return the place from which what `saved` describes is gone on with."""
        return cls(share, _without(share[num_delivered:], torch.tensor(ahead, dtype=torch.int64)))

    @property
    def is_whole(self) -> bool:
        """Whether the whole share is to be delivered."""
        return len(self.rest) == len(self.share)

    @property
    def remaining(self) -> Tensor:
        """What was not handed out yet, in order."""
        left = self.rest[self._next :]
        return _without(left, torch.cat(list(self._ahead.values()))) if self._ahead else left

    def is_next(self, index: Tensor) -> bool:
        """Whether a batch comes in its turn."""
        return self._next < len(self.rest) and int(index[0]) == int(self.rest[self._next])

    def add(self, index: Tensor) -> None:
        """Count a batch as handed out."""
        self._ahead[int(index[0])] = index
        while self._next < len(self.rest):
            batch = self._ahead.pop(int(self.rest[self._next]), None)
            if batch is None:
                break
            self._next += len(batch)

    def skip_to(self, index: Tensor) -> bool:
        """Count all before a batch as handed out; False where it is not in the share, or a part was skipped already."""
        found = (self.rest == index[0]).nonzero()
        if not self.is_whole or len(found) != 1:
            return False
        self._next = int(found)
        return True

    def saved(self) -> tuple[int, list[int]]:
        """Return how many samples were handed out without a gap, and which ones (dataset positions) beyond that."""
        remaining = self.remaining
        num_delivered = len(self.share) - len(remaining)
        if remaining.equal(self.share[num_delivered:]):
            return num_delivered, []
        delivered = ~torch.isin(self.share, remaining)
        num_delivered = int(delivered.logical_not().nonzero()[0])
        return num_delivered, self.share[num_delivered:][delivered[num_delivered:]].tolist()


def _without(index: Tensor, gone: Tensor) -> Tensor:
    return index[~torch.isin(index, gone)] if len(gone) else index
