"""A batch sampler that yields one rank's share of a plan, and nothing else."""

from collections.abc import Iterator

from torch import Tensor
from torch.utils.data import Sampler

from emprune.data.share import batch_slices
from emprune.errors import EpochError

__all__ = ["PlanBatchSampler"]


class PlanBatchSampler(Sampler[list[int]]):
    """Yields batches of dataset positions in the plan's order; holds no position of its own.

    Args:
        batch_size: Samples per batch, B; the last batches of an epoch may be shorter.
    """

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self._index: Tensor | None = None
        self._last = 0

    def deliver(self, index: Tensor, *, last: int = 0) -> None:
        """Set what iterators yield from now on; those that have begun are not touched.

        Args:
            index: (K,) int64, the samples.
            last: How many of them are in the last batch, if it is not simply what is left.
        """
        self._index, self._last = index, last

    def __iter__(self) -> Iterator[list[int]]:
        index = self._planned()
        for part in batch_slices(len(index), self.batch_size, self._last):
            yield index[part].tolist()

    def __len__(self) -> int:
        return -(-(len(self._planned()) - self._last) // self.batch_size) + (self._last > 0)

    def _planned(self) -> Tensor:
        if self._index is None:
            raise EpochError("No epoch has begun: call loader.set_epoch(epoch) on the PrunedLoader first.")
        return self._index
