"""Place: how far a pass over one rank's share of a plan has come."""

from collections.abc import Sequence

import torch
from torch import Tensor

from emprune.data.share import Share

__all__ = ["Place"]


class Place:
    """Which samples of a share were handed out: those up to a point, and batches that overtook others.

    Batches overtake with ``in_order=False``, and where one was lost to an exception.

    Args:
        share: One rank's share of the plan.
        rest: (K',) int64, the part of it that is to be delivered; None for all.

    Example:
        >>> place = Place(Share(index=torch.tensor([4, 1, 3, 0]), num_left=4))
        >>> place.add(torch.tensor([3, 0]))
        >>> place.remaining.tolist(), place.saved()
        ([4, 1], (0, [3, 0]))
        >>> place.add(torch.tensor([4, 1]))
        >>> place.remaining.tolist(), place.saved()
        ([], (4, []))
    """

    def __init__(self, share: Share, rest: Tensor | None = None) -> None:
        self.share = share
        self.rest = share.index if rest is None else rest
        self._next = 0
        self._ahead: dict[int, Tensor] = {}

    @classmethod
    def resumed(cls, share: Share, ahead: Sequence[int]) -> "Place":
        """Return the place in a share from which samples were handed out that lie ahead."""
        return cls(share, _without(share.index, share.index.new_tensor(ahead)))

    @property
    def is_whole(self) -> bool:
        """Whether all of this rank's part of the plan is to be delivered."""
        return self.share.num_before == 0 and len(self.rest) == len(self.share.index)

    @property
    def last(self) -> int:
        """How many samples are in the last batch of the rest, if it is not simply what is left."""
        ends_alike = len(self.rest) > 0 and bool(self.rest[-1] == self.share.index[-1])
        return self.share.last if ends_alike else 0

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
        """Return how many samples were handed out without a gap, and which ones (dataset positions) beyond that.

        The former are counted in the plan, over all ranks; the latter are this rank's.
        """
        remaining, index = self.remaining, self.share.index
        count = len(index) - len(remaining)
        if remaining.equal(index[count:]):
            return self.share.num_delivered(count), []
        delivered = ~torch.isin(index, remaining)
        count = int(delivered.logical_not().nonzero()[0])
        return self.share.num_delivered(count), index[count:][delivered[count:]].tolist()


def _without(index: Tensor, gone: Tensor) -> Tensor:
    return index[~torch.isin(index, gone)] if len(gone) else index
