"""Ranks that train together: the only file that imports torch.distributed."""

from collections.abc import Mapping
from typing import TypeAlias

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["ProcessGroup", "Ranks"]

ProcessGroup: TypeAlias = "dist.ProcessGroup"


class Ranks:
    """This process's place among the ranks that share a run; one rank where torch.distributed is not initialised.

    Args:
        process_group: The group the data is sharded over; None for the default group.
    """

    def __init__(self, process_group: "ProcessGroup | None" = None) -> None:
        self._group = process_group
        initialised = dist.is_available() and dist.is_initialized()
        self.rank = dist.get_rank(process_group) if initialised else 0
        self.size = dist.get_world_size(process_group) if initialised else 1

    def merge(
        self, num_samples: int, index: Tensor, measured: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Unite what all ranks observed; collective, and the same on all of them. One rank: returned as it is.

        Args:
            num_samples: N.
            index: (M,) int64, what this rank observed, each sample once.
            measured: (M,) float32 each; every rank must name the same quantities.

        Returns:
            The union, ordered by position; a sample that several ranks observed gets the mean.
        """
        if self.size == 1:
            return index, dict(measured)
        count = self._sum(torch.zeros(num_samples).index_fill_(0, index, 1))
        union = count.nonzero().squeeze(1)
        count = count[union]
        merged = {}
        for name in sorted(measured):
            merged[name] = self._sum(torch.zeros(num_samples).index_copy_(0, index, measured[name]))[union] / count
        return union, merged

    def _sum(self, values: Tensor) -> Tensor:
        if dist.get_backend(self._group) == "nccl":
            values = values.cuda()
        dist.all_reduce(values, group=self._group)
        return values.cpu()
