"""A batch sampler that yields one rank's shard of a plan, and nothing else."""

from collections.abc import Iterator

from torch import Tensor
from torch.utils.data import Sampler

from emprune.data.planned import PlannedLoader
from emprune.data.shard import batch_slices
from emprune.errors import EpochError

__all__ = ["EpochSampler", "PlanBatchSampler"]


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
        index = self._planned().numpy()  # a slice of a tensor takes several times as long
        for part in batch_slices(len(index), self.batch_size, self._last):
            yield index[part].tolist()

    def __len__(self) -> int:
        return -(-(len(self._planned()) - self._last) // self.batch_size) + (self._last > 0)

    def _planned(self) -> Tensor:
        if self._index is None:
            raise EpochError("No epoch has begun: call loader.set_epoch(epoch) on the PrunedLoader first.")
        return self._index


class EpochSampler(Sampler[int]):
    """What ``loader.sampler`` is: scripts for several ranks call its `set_epoch`, which plans the epoch.

    Args:
        loader: The loader.
    """

    def __init__(self, loader: PlannedLoader) -> None:
        self._loader = loader

    def set_epoch(self, epoch: int) -> None:
        """Plan an epoch: see `PrunedLoader.set_epoch`."""
        self._loader.set_epoch(epoch)

    def __iter__(self) -> Iterator[int]:
        return iter(self._loader.rest.tolist())

    def __len__(self) -> int:
        return len(self._loader.rest)
