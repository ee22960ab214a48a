"""The plan of one epoch: a frozen, global, rank-independent value."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from emprune.errors import ConfigError

__all__ = ["EpochPlan"]


@dataclass(frozen=True, eq=False)
class EpochPlan:
    """The samples one epoch visits, in their order, with optional weights.

    Planning the same epoch twice gives the same object. Two plans are equal if their epochs, samples, order and weights
    are equal. Do not write to the tensors.

    Args:
        epoch: The epoch, 0-based.
        index: (K,) int64, positions in the dataset, each at most once.
        weight: (K,) float32, the factor of each sample's loss, or None if all are 1.
        num_samples: Samples in the dataset, N.

    Example:
        >>> import torch
        >>> plan = EpochPlan(epoch=0, index=torch.tensor([4, 1, 3, 0]), weight=None, num_samples=5)
        >>> plan.shard(rank=1, world_size=2).index
        tensor([1, 0])
    """

    epoch: int
    index: Tensor
    weight: Tensor | None
    num_samples: int

    def __len__(self) -> int:
        return len(self.index)

    @property
    def kept_fraction(self) -> float:
        """K / N."""
        return len(self) / self.num_samples

    @cached_property
    def fingerprint(self) -> str:
        """Hex digest of the whole plan: equal on every rank, in every process, after every resume."""
        digest = hashlib.blake2b(f"{self.epoch}/{self.num_samples}/{len(self)}".encode(), digest_size=16)
        digest.update(self.index.contiguous().numpy().data)
        if self.weight is not None:
            digest.update(self.weight.contiguous().numpy().data)
        return digest.hexdigest()

    def shard(self, rank: int, world_size: int) -> "EpochPlan":
        """Return one rank's shard: every `world_size`-th sample, starting at `rank`.

        The b-th batches of all ranks together are the b-th global batch, for any number of ranks.

        Raises:
            ConfigError: If `rank` is outside [0, world_size), or the ranks would get unequal shards.
        """
        if not 0 <= rank < world_size:
            raise ConfigError(f"`rank` must be in [0, world_size); got {rank=}, {world_size=}.")
        if len(self) % world_size:
            raise ConfigError(
                f"`world_size` must divide the plan's {len(self)} samples; got {world_size=}. Plan with "
                f"begin_epoch(epoch, multiple_of={world_size}, drop_last=True), or a multiple of that.",
                parameter="world_size",
                value=world_size,
                suggestion={"multiple_of": world_size, "drop_last": True},
            )
        weight = None if self.weight is None else self.weight[rank::world_size].contiguous()
        return EpochPlan(self.epoch, self.index[rank::world_size].contiguous(), weight, self.num_samples)

    def reordered(self, order: Tensor) -> "EpochPlan":
        """Return the same samples in another order.

        Args:
            order: (K,) integers, the positions in this plan, each once.
        """
        weight = None if self.weight is None else self.weight.index_select(0, order)
        return EpochPlan(self.epoch, self.index.index_select(0, order), weight, self.num_samples)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, EpochPlan):
            return NotImplemented
        return self is other or self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        weighted = "" if self.weight is None else ", weighted"
        return f"EpochPlan(epoch={self.epoch}, {len(self)} of {self.num_samples} samples{weighted})"
