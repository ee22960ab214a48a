"""A batch sampler that yields one rank's share of a plan, and nothing else."""

from collections.abc import Iterator

from torch import Tensor
from torch.utils.data import Sampler

from emprune.errors import EpochError

__all__ = ["PlanBatchSampler"]


class PlanBatchSampler(Sampler[list[int]]):
    """Yields batches of dataset positions in the plan's order; holds no position of its own.

    Args:
        batch_size: Samples per batch, B; the last batch of an epoch may be shorter.
    """

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self._index: Tensor | None = None

    def deliver(self, index: Tensor) -> None:
        """Set what iterators yield from now on, (K,) int64; those that have begun are not touched."""
        self._index = index

    def __iter__(self) -> Iterator[list[int]]:
        index, size = self._planned(), self.batch_size
        for start in range(0, len(index), size):
            yield index[start : start + size].tolist()

    def __len__(self) -> int:
        return -(-len(self._planned()) // self.batch_size)

    def _planned(self) -> Tensor:
        if self._index is None:
            raise EpochError("No epoch has begun: call loader.set_epoch(epoch) on the PrunedLoader first.")
        return self._index
