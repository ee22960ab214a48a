"""Ranks that train together: the only file that imports torch.distributed."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from emprune.errors import ConfigError, RankError

__all__ = ["NOT_OBSERVED", "NOT_VALID", "ProcessGroup", "Ranks", "launched_rank", "launched_ranks"]

ProcessGroup: TypeAlias = "dist.ProcessGroup"
_Said = TypeVar("_Said")

NOT_OBSERVED, NOT_VALID = 0, 1
"""What `Ranks.gather_observed` says of a position; anything above that is a valid observation."""
_CHUNK_ELEMENTS = 1 << 24
"""Elements that are reduced at a time: 64 MiB on the group's device, whatever N is."""


class Ranks:
    """This process's place among the ranks that share a run; one rank where torch.distributed is not initialised.

    Args:
        process_group: The group the data is sharded over; None for the default group.

    Raises:
        ConfigError: If this process is not in the group.
    """

    def __init__(self, process_group: "ProcessGroup | None" = None) -> None:
        self._group = process_group
        self.rank = dist.get_rank(process_group) if _is_initialised() else 0
        self.size = self._current_size()
        if self.rank < 0:
            raise ConfigError(
                "`process_group` must be one that this process is in: got another's. Give every process the group of "
                "those among which its data is divided, such as device_mesh['data'].get_group()."
            )

    def check_size(self) -> None:
        """Raise RankError unless there are as many ranks as this was made for."""
        if self._current_size() != self.size:
            raise RankError(
                f"The pruner was made for {self.size} rank(s), and there are {self._current_size()} now. Make it after "
                "torch.distributed is initialised; to go on with other ranks, load its state into a new one."
            )

    def exchange(self, said: _Said, *, doing: str) -> list[_Said]:
        """Return what every rank says, by rank. Collective; a small picklable value.

        Args:
            said: What this rank says.
            doing: What the ranks do together, for the message.

        Raises:
            RankError: If a rank does not take part within the group's timeout, or their number is not what it was.
        """
        self.check_size()
        if self.size == 1:
            return [said]
        everything: list[_Said] = [said] * self.size
        with self._together(doing):
            dist.all_gather_object(everything, said, group=self._group)
        return everything

    def broadcast(self, said: _Said, *, doing: str) -> _Said:
        """Return what the first rank says; collective. A picklable value, which the others give as None.

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
        """Return the sum of all ranks' values (K,), on the CPU; collective.

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
        names: Sequence[str],
        doing: str,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Gather what all ranks observed; collective, and bit for bit the same on all of them.

        Several ranks may have observed a position. A valid observation then goes before one that is not, and the
        highest rank's before the others'. No arithmetic is done on the values.

        Args:
            num_positions: K, the length of the plan.
            position: (M,) int64, what this rank observed, as positions in the plan, each once; M may be 0.
            measured: (M,) float32 each.
            valid: (M,) bool, or None where all are.
            names: The quantities, the same on all ranks; this rank need not have measured any if M is 0.
            doing: What the ranks do together, for the message.

        Returns:
            (K,) integers, `NOT_OBSERVED`, `NOT_VALID` or above; and (K,) float32 of each quantity, meaningful where
            they are above.

        Raises:
            RankError: If a rank does not take part within the group's timeout.
        """
        mine = self.rank + NOT_VALID + 1
        winner = torch.zeros(num_positions, dtype=torch.uint8 if self.size < 254 else torch.int32)
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

    def _current_size(self) -> int:
        return dist.get_world_size(self._group) if _is_initialised() else 1

    def _all_reduce(self, values: Tensor, operation: "dist.ReduceOp.RedOpType", doing: str) -> None:
        """Reduce (K,) values on the CPU in place, on a device that the group communicates from."""
        device = self._device()
        for part in values.split(_CHUNK_ELEMENTS):
            sent = part.to(device)
            with self._together(doing):
                dist.all_reduce(sent, op=operation, group=self._group)
            if sent is not part:
                part.copy_(sent)

    def _device(self) -> torch.device:
        """The CPU where the group can communicate from it; NCCL cannot, and takes the process's current GPU."""
        kinds = [pair.split(":")[0] for pair in dist.get_backend_config(self._group).split(",")]
        return torch.device("cpu" if "cpu" in kinds else kinds[0])

    @contextmanager
    def _together(self, doing: str) -> Iterator[None]:
        """Say what it means where a collective fails."""
        try:
            yield
        except RuntimeError as error:
            raise RankError(
                f"A rank did not take part in {doing}: it died, or did not come within the process group's timeout. "
                f"Every rank must call begin_epoch and sync as often as the others. This is rank {self.rank} of "
                f"{self.size}; the other's own error, if it left one, is in its log."
            ) from error


def launched_rank() -> int | None:
    """Return this process's rank among those that torchrun started; None if it did not start this one."""
    return int(os.environ["RANK"]) if dist.is_available() and dist.is_torchelastic_launched() else None


@contextmanager
def launched_ranks() -> Iterator[Ranks]:
    """Join the ranks that torchrun started, each with a GPU of its own where there are any, and leave them at the end.

    Without torchrun it is one rank.
    """
    if launched_rank() is None:
        yield Ranks()
        return
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    os.environ.setdefault("TORCH_DIST_INIT_BARRIER", "1")  # or a rank may be refused, and gone, as others still connect
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo")
    try:
        yield Ranks()
    finally:
        dist.destroy_process_group()


def _is_initialised() -> bool:
    return dist.is_available() and dist.is_initialized()


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
