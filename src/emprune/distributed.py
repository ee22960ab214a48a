"""Ranks that train together: the only file that imports torch.distributed."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from emprune.errors import ConfigError, RankError

__all__ = ["NOT_OBSERVED", "NOT_USED", "NOT_VALID", "ProcessGroup", "Ranks", "launched_rank", "launched_ranks"]

ProcessGroup: TypeAlias = "dist.ProcessGroup"
_Said = TypeVar("_Said")

NOT_OBSERVED, NOT_USED, NOT_VALID = 0, 1, 2
"""What `Ranks.gather_observed` says of a position: a higher one counts, and above them all is a valid observation."""
_CHUNK_ELEMENTS = 1 << 24
"""Elements that are reduced at a time: 64 MiB on the group's device, whatever N is."""


class Ranks:
    """This process's rank among those that share a run; one rank if torch.distributed is not initialised.

    Args:
        process_group: The group that the data is divided among; None for the default group.

    Raises:
        ConfigError: If this process is not in the group.
    """

    def __init__(self, process_group: "ProcessGroup | None" = None) -> None:
        self._group = process_group
        self.rank = dist.get_rank(process_group) if _is_initialised() else 0
        self.size = self._current_size()
        if self.rank < 0:
            raise ConfigError(
                "`process_group` must contain this process; got a group without it. Give every process the group among "
                "which its data is divided, such as device_mesh['data'].get_group()."
            )

    def check_size(self) -> None:
        """Raise RankError unless the number of ranks is still the same."""
        if self._current_size() != self.size:
            raise RankError(
                f"The number of ranks must stay the same; the pruner was made for {self.size}, got "
                f"{self._current_size()} now. Make the pruner after torch.distributed is initialised. To go on with "
                "another number of ranks, load the state into a new pruner."
            )

    def exchange(self, said: _Said, *, doing: str) -> list[_Said]:
        """Return every rank's value, by rank. Collective.

        Args:
            said: This rank's value, small and picklable.
            doing: What the ranks do together, for the message.

        Raises:
            RankError: If a rank does not take part within the group's timeout, or the number of ranks has changed.
        """
        self.check_size()
        if self.size == 1:
            return [said]
        everything: list[_Said] = [said] * self.size
        with self._together(doing):
            dist.all_gather_object(everything, said, group=self._group)
        return everything

    def broadcast(self, said: _Said, *, doing: str) -> _Said:
        """Return the first rank's value, which must be picklable. Collective; the other ranks pass None.

        Raises:
            RankError: If a rank does not take part within the group's timeout.
        """
        if self.size == 1:
            return said
        box = [said]
        with self._together(doing):
            dist.broadcast_object_list(box, group=self._group, group_src=0)
        return box[0]

    def total(self, values: Tensor, *, doing: str) -> Tensor:
        """Return the sum of all ranks' values (K,), on the CPU. Collective.

        Raises:
            RankError: If a rank does not take part within the group's timeout.
        """
        summed = values.detach().cpu().clone()
        if self.size > 1:
            self._all_reduce(summed, dist.ReduceOp.SUM, doing)
        return summed

    def gather_observed(
        self,
        num_positions: int,
        position: Tensor,
        measured: Mapping[str, Tensor],
        *,
        valid: Tensor | None,
        not_used: Tensor,
        names: Sequence[str],
        doing: str,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Gather the observations of all ranks. Collective; the result is the same on all ranks, bit for bit.

        Several ranks may have observed a position. The highest rank's valid observation then counts. No arithmetic is
        done on the values.

        Args:
            num_positions: K, the length of the plan.
            position: (M,) int64, positions in the plan that this rank observed, each once; M may be 0.
            measured: The quantities that were measured, (M,) float32 each.
            valid: (M,) bool, or None if all are.
            not_used: (M',) int64, positions that this rank had and could not use.
            names: The names of the quantities, the same on all ranks. If M is 0, `measured` may lack them.
            doing: What the ranks do together, for the message.

        Returns:
            (K,) integers, `NOT_OBSERVED`, `NOT_USED`, `NOT_VALID` or above; and (K,) float32 of each quantity. Its
            values have a meaning only where the integer is above.

        Raises:
            RankError: If a rank does not take part within the group's timeout.
        """
        mine = self.rank + NOT_VALID + 1
        winner = torch.zeros(num_positions, dtype=torch.uint8 if self.size < 254 else torch.int32)
        winner.index_fill_(0, not_used, NOT_USED)
        winner.index_fill_(0, position, mine)
        if valid is not None:
            winner.index_fill_(0, position[~valid], NOT_VALID)
        self._all_reduce(winner, dist.ReduceOp.MAX, doing)
        won = winner.index_select(0, position) == mine
        if not bool(won.all()):
            position, measured = position[won], {name: values[won] for name, values in measured.items()}
        gathered = {}
        for name in names:
            bits = torch.zeros(num_positions, dtype=torch.int32)  # adding 0 would turn the float -0.0 into 0.0
            if len(position):
                bits.index_copy_(0, position, measured[name].view(torch.int32))
            self._all_reduce(bits, dist.ReduceOp.SUM, doing)
            gathered[name] = bits.view(torch.float32)
        return winner, gathered

    def gather(self, values: Tensor) -> Tensor:
        """Concatenate all ranks' values, by rank, with a gradient. Collective, and so is the backward pass.

        Args:
            values: (M, ...) float, of one shape on all ranks.

        Returns:
            (W · M, ...). The gradient of a rank's part is the sum of the gradients of all ranks' losses.
        """
        if self.size == 1:
            return values
        gathered: Tensor = _Gather.apply(values, self._group)
        return gathered

    def _current_size(self) -> int:
        return dist.get_world_size(self._group) if _is_initialised() else 1

    def _all_reduce(self, values: Tensor, operation: "dist.ReduceOp.RedOpType", doing: str) -> None:
        """Reduce (K,) values on the CPU in place, through a device that the group communicates from."""
        device = self._device()
        for part in values.split(_CHUNK_ELEMENTS):
            sent = part.to(device)
            with self._together(doing):
                dist.all_reduce(sent, op=operation, group=self._group)
            if sent is not part:
                part.copy_(sent)

    def _device(self) -> torch.device:
        """The CPU if the group can communicate from it. NCCL cannot, and takes the process's current GPU."""
        kinds = [pair.split(":")[0] for pair in dist.get_backend_config(self._group).split(",")]
        return torch.device("cpu" if "cpu" in kinds else kinds[0])

    @contextmanager
    def _together(self, doing: str) -> Iterator[None]:
        """Raise RankError if a collective fails."""
        try:
            yield
        except RuntimeError as error:
            raise RankError(
                f"All ranks must take part in {doing}; one did not. It died, or did not come within the process "
                f"group's timeout. This is rank {self.rank} of {self.size}. Look for an error in the logs of the other "
                "ranks, and call begin_epoch and sync equally often on all."
            ) from error


def launched_rank() -> int | None:
    """Return this process's rank among those that torchrun started; None if it did not start this one."""
    return int(os.environ["RANK"]) if dist.is_available() and dist.is_torchelastic_launched() else None


@contextmanager
def launched_ranks() -> Iterator[Ranks]:
    """Join the ranks that torchrun started, and leave them at the end. If there are GPUs, each rank has its own.

    Without torchrun there is one rank.

    Raises:
        ConfigError: If there are GPUs, but not one for each rank: NCCL refuses ranks that share one.
    """
    if launched_rank() is None:
        yield Ranks()
        return
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        num_ranks, num_gpus = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
        if num_ranks > num_gpus:  # on all of them, since the first alone is heard
            raise ConfigError(
                f"Each rank on a machine must have a GPU of its own; got {num_ranks} ranks and {num_gpus} GPUs. Start "
                f"torchrun with --nproc-per-node {num_gpus}. Or train on the CPU: set CUDA_VISIBLE_DEVICES to nothing."
            )
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    os.environ.setdefault("TORCH_DIST_INIT_BARRIER", "1")  # or a rank may fail and exit while others still connect
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo")
    try:
        yield Ranks()
    finally:
        dist.destroy_process_group()


def _is_initialised() -> bool:
    return dist.is_available() and dist.is_initialized()


class _Gather(torch.autograd.Function):
    """All-gather with a gradient. That of torch.distributed.nn is deprecated from torch 2.13, its successor private."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, group: "ProcessGroup | None") -> Tensor:
        ctx.group = group
        parts = [torch.empty_like(values) for _ in range(dist.get_world_size(group))]
        dist.all_gather(parts, values.contiguous(), group=group)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].clone(
            memory_format=torch.contiguous_format
        )  # the sum is in place, and the argument is autograd's
        dist.all_reduce(total, group=ctx.group)
        return total.chunk(dist.get_world_size(ctx.group))[dist.get_rank(ctx.group)], None
