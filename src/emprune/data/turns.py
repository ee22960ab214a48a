"""What workers that outlive an epoch are told with each batch: which pass it is of, its epoch and its seed.

Hard, because torch seeds a worker and copies the dataset once, when it starts. Workers that are new in each epoch get
both anew. Those that persist would go on with the random numbers of the epoch before, so that a run that is resumed
would see others. And they would keep the copy of the dataset that they began with. Here the first batch of a pass
brings them what new ones would have got.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import torch
from torch.utils.data import Sampler, get_worker_info

__all__ = ["InTurn", "Turn", "TurnBatches", "take_turn"]


@dataclass(frozen=True, slots=True)
class Turn:
    """A pass over an epoch.

    Attributes:
        number: Which one, of all that the loader began.
        epoch: The epoch.
        generator_seed: What the loader's generator is seeded with for it; None for a generator of the user's.
    """

    number: int
    epoch: int
    generator_seed: int | None


@dataclass(frozen=True, slots=True)
class InTurn:
    """A batch that is asked for, and the pass that it is of."""

    turn: Turn
    request: Any


class TurnBatches(Sampler[InTurn]):
    """Yields what another batch sampler does, with the pass.

    Args:
        batches: The other one.
    """

    def __init__(self, batches: Sampler[Any]) -> None:
        self.batches = batches
        self._numbers = count()
        self._epoch = -1
        self._generator_seed: int | None = None

    def next_is_of(self, epoch: int, generator_seed: int | None) -> None:
        """Set what passes are of that begin from now on."""
        self._epoch, self._generator_seed = epoch, generator_seed

    def __iter__(self) -> Iterator[InTurn]:
        turn = Turn(next(self._numbers), self._epoch, self._generator_seed)
        return (InTurn(turn, request) for request in self.batches)

    def __len__(self) -> int:
        return len(self.batches)  # type: ignore[arg-type]


def take_turn(turn: Turn, dataset: Any, *, is_first: bool) -> None:
    """Bring a worker to where a new one would begin: its random states and its dataset's epoch.

    What a `worker_init_fn` seeded is left alone in the pass that the worker started in. In the process of the loop
    nothing is done.

    Args:
        turn: The pass that begins.
        dataset: The user's.
        is_first: Whether the worker has had no pass yet.
    """
    worker = get_worker_info()
    if worker is None:
        return
    if hasattr(dataset, "set_epoch"):
        dataset.set_epoch(turn.epoch)
    if turn.generator_seed is None:
        return
    generator = torch.Generator().manual_seed(turn.generator_seed)
    base_seed = int(torch.empty((), dtype=torch.int64).random_(generator=generator).item())  # as a DataLoader draws
    seed = base_seed + worker.id
    if is_first and worker.seed == seed:
        return
    random.seed(seed)
    torch.manual_seed(seed)
    np.random.seed(_numpy_state(base_seed, worker.id))  # noqa: NPY002 - the state that samples are drawn from


def _numpy_state(base_seed: int, worker_id: int) -> Any:
    from torch.utils.data._utils.worker import _generate_state  # torch's own choice, which it does not make public

    return _generate_state(base_seed, worker_id)
