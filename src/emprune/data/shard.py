"""Shard: one rank's part of what is left of a plan."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from emprune.errors import StateError

__all__ = ["Shard", "batch_slices"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Shard:
    """What one rank delivers: as many batches as every other rank, and no sample of another rank.

    It is every `world_size`-th of the remaining samples. A plan for this number of ranks is divided equally. After the
    number of ranks has changed, the last batches of some ranks may be one sample shorter. If fewer samples than ranks
    remain for the last batches, the batches before them give one sample each.

    Attributes:
        index: (K,) int64, the samples in order.
        last: How many of them are in the last batch. The others are in batches of the loader's size, where the final
            one may be shorter.
        num_before: Samples of the plan that were delivered before, on all ranks together.
        num_left: Samples in the shards of all ranks.
        world_size: The number of ranks.
    """

    index: Tensor
    last: int = 0
    num_before: int = 0
    num_left: int
    world_size: int = 1

    @classmethod
    def dealt(cls, index: Tensor, *, rank: int, world_size: int, batch_size: int, num_before: int = 0) -> "Shard":
        """Return a rank's shard.

        Args:
            index: (K,) int64, a whole plan.
            rank: The rank.
            world_size: The number of ranks.
            batch_size: Samples per batch and rank.
            num_before: How many of the plan's samples were delivered already.

        Raises:
            StateError: If the ranks cannot have equally many batches.
        """
        left = index[num_before:]
        num_tail = len(left) % (world_size * batch_size)
        if 0 < num_tail < world_size:
            if batch_size == 1 or num_tail == len(left):
                raise StateError(
                    f"All ranks must have equally many batches of the rest of the epoch; got {len(left)} samples in "
                    f"batches of up to {batch_size} for {world_size} ranks. Finish the epoch on as many ranks as it "
                    "was planned for. Or go on with the next epoch: pruner.load_state_dict(state['pruner']), then "
                    "set_epoch(epoch + 1)."
                )
            num_tail += world_size
        return cls(
            index=left[rank::world_size].contiguous(),
            last=-(-(num_tail - rank) // world_size),
            num_before=num_before,
            num_left=len(left),
            world_size=world_size,
        )

    def num_delivered(self, count: int) -> int:
        """Return how many of the plan's samples all ranks delivered when each has handed out equally many batches.

        Args:
            count: Samples in the batches of this rank.
        """
        return self.num_before + (self.num_left if count == len(self.index) else count * self.world_size)


def batch_slices(length: int, batch_size: int, last: int) -> Iterator[slice]:
    """Yield where batches begin and end.

    Args:
        length: Samples.
        batch_size: Samples per batch.
        last: Samples in the last batch, if it is not simply what is left.

    Example:
        >>> [part.stop - part.start for part in batch_slices(10, 4, last=3)]
        [4, 3, 3]
    """
    cut = length - last
    for start in range(0, cut, batch_size):
        yield slice(start, min(start + batch_size, cut))
    if last:
        yield slice(cut, length)
