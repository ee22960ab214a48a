"""Ranks that train together: the only file that imports torch.distributed."""

from collections.abc import Mapping
from typing import Any, TypeAlias

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

    def gather(self, values: Tensor) -> Tensor:
        """Concatenate all ranks' values, by rank, with a gradient; collective, and so is the backward pass.

        Args:
            values: (M, ...) float, of one shape on all ranks.

        Returns:
            (W · M, ...). The gradient of a rank's part is the sum of what the losses of all ranks want of it.
        """
        if self.size == 1:
            return values
        gathered: Tensor = _Gather.apply(values, self._group)
        return gathered

    def _sum(self, values: Tensor) -> Tensor:
        if dist.get_backend(self._group) == "nccl":
            values = values.cuda()
        dist.all_reduce(values, group=self._group)
        return values.cpu()


class _Gather(torch.autograd.Function):
    """All-gather with a gradient: torch.distributed.nn's is deprecated from torch 2.13 on, its successor private."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, group: "ProcessGroup | None") -> Tensor:
        ctx.group = group
        parts = [torch.empty_like(values) for _ in range(dist.get_world_size(group))]
        dist.all_gather(parts, values.contiguous(), group=group)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].clone(memory_format=torch.contiguous_format)  # summed in place, and not ours to change
        dist.all_reduce(total, group=ctx.group)
        return total.chunk(dist.get_world_size(ctx.group))[dist.get_rank(ctx.group)], None
