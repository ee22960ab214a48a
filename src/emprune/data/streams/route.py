"""Route: in which order a stream hands out the samples of a plan, known before anything is read.

Hard, because the plan is global and a stream is not. A plan chooses among all samples. A rank, and each of its workers,
should read a part of the shards, and all ranks need equally many batches. So the *plan in the order of the stream* is
cut, and not the shards::

    shards      s7 | s2 | s5 | s0 | ...          in random order, drawn for each epoch
    the plan    .x..x|x.x..|..xx.|x...x|         K samples, in that order
    ranks       [ rank 0  |  rank 1   ]          cut into equal parts of the plan
    lanes       [ l0 | l1 |  l0 | l1  ]          and these into one for each worker
    handed out                                   shuffled within a window of each lane; the lanes' batches take turns

A shard that is cut is opened by both sides, and each reads its own samples. So the cost is exact, the plan is
that of one rank, and any number of shards does for any number of ranks and workers.

What was handed out before a stop stays so. A run that goes on with other ranks, workers or batches routes the rest
again: a leg for each such stretch of the epoch.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
import torch
from torch import Tensor

from emprune.data.shard import Shard, batch_slices
from emprune.data.streams.index import Positions, StreamIndex
from emprune.randomness import derive_generator

__all__ = ["Leg", "Route"]


@dataclass(frozen=True)
class Leg:
    """A stretch of an epoch that was handed out to the same ranks, lanes and batches.

    Attributes:
        num_before: Samples of the plan that were handed out before it, on all ranks together.
        world_size: The number of ranks.
        num_lanes: Readings of each rank at the same time: its workers, or one.
        batch_size: Samples per batch and rank.
    """

    num_before: int
    world_size: int
    num_lanes: int
    batch_size: int

    def goes_on_as(self, other: "Leg") -> bool:
        """Whether nothing changes with another leg."""
        return astuple(self)[1:] == astuple(other)[1:]


@dataclass(frozen=True, eq=False)
class Route:
    """Orders plans for a stream.

    Args:
        index: The stream's samples.
        shuffle_buffer: How far a sample may move in the stream, in samples of its lane.
        seed: The run's seed.
    """

    index: StreamIndex
    shuffle_buffer: int
    seed: int

    def order(self, planned: Tensor, epoch: int, legs: Sequence[Leg]) -> Tensor:
        """Return (K,) int64, a plan's samples in the order in which the ranks together hand them out.

        Every W-th sample is one rank's, as in a plan. A leg orders what those before it have left.

        Args:
            planned: (K,) int64, the plan's samples.
            epoch: The epoch.
            legs: At least one.
        """
        done, rest = [], planned.numpy()
        for leg, following in zip(legs, [*legs[1:], None], strict=True):
            ordered = self._ordered(rest, epoch, leg)
            cut = len(ordered) if following is None else following.num_before - leg.num_before
            done.append(ordered[:cut])
            rest = ordered[cut:]
        return torch.from_numpy(np.concatenate(done))

    def places(self, positions: Positions, epoch: int) -> Positions:
        """Return (B,) where samples come in an epoch's stream of all samples."""
        generator = derive_generator(self.seed, "shards", epoch)
        order = torch.randperm(len(self.index.shards), generator=generator, device="cpu").numpy()
        start = np.empty_like(self.index.sizes)
        start[order] = np.cumsum(self.index.sizes[order]) - self.index.sizes[order]
        shard, row = self.index.locate(positions)
        return np.asarray(start[shard] + row)

    def gaps(self, samples: Positions, *, to_end: bool) -> Positions:
        """Return (B,) how many samples are passed over to read each of these, which come in the stream's order.

        Args:
            samples: (B,) int64.
            to_end: Whether each shard is read to its end.
        """
        shard, row = self.index.locate(samples)
        first = np.ones(len(samples), dtype=bool)
        first[1:] = shard[1:] != shard[:-1]
        before = np.where(first, 0, np.concatenate([[0], row[:-1] + 1]))
        gaps = row - before
        if to_end:
            last = np.concatenate([first[1:], [True]])
            gaps += np.where(last, self.index.sizes[shard] - 1 - row, 0)
        return np.asarray(gaps)

    def _ordered(self, samples: Positions, epoch: int, leg: Leg) -> Positions:
        sequence = samples[np.argsort(self.places(samples, epoch))]
        ordered, start = np.empty_like(sequence), 0
        for rank in range(leg.world_size):
            shape = Shard.dealt(
                torch.from_numpy(sequence), rank=rank, world_size=leg.world_size, batch_size=leg.batch_size
            )
            size = len(shape.index)
            ordered[rank :: leg.world_size] = self._of_rank(
                sequence[start : start + size], epoch, rank, leg, last=shape.last
            )
            start += size
        return ordered

    def _of_rank(self, sequence: Positions, epoch: int, rank: int, leg: Leg, *, last: int) -> Positions:
        """Return one rank's samples in the order of its batches, which take turns among the lanes."""
        parts = list(batch_slices(len(sequence), leg.batch_size, last))
        ordered, start = np.empty_like(sequence), 0
        for lane in range(min(leg.num_lanes, len(parts))):
            mine = parts[lane :: leg.num_lanes]
            size = sum(part.stop - part.start for part in mine)
            generator = derive_generator(self.seed, "window", epoch, leg.num_before, rank, lane)
            window = self._shuffled(sequence[start : start + size], generator)
            start, at = start + size, 0
            for part in mine:
                ordered[part] = window[at : at + part.stop - part.start]
                at += part.stop - part.start
        return ordered

    def _shuffled(self, sequence: Positions, generator: torch.Generator) -> Positions:
        """Return samples in random order within a window that slides: none moves by more than the buffer."""
        noise = torch.rand(len(sequence), generator=generator, dtype=torch.float64, device="cpu").numpy()
        return sequence[np.argsort(np.arange(len(sequence)) + max(1, self.shuffle_buffer) * noise)]
