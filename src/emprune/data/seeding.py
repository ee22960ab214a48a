"""What a worker is told with each batch that it fetches: the epoch, and what seeds the batch's random numbers.

Hard, because torch seeds a worker and copies the dataset once, when it starts. Random numbers then depend on how many
workers there are, and on all that a worker fetched before. A run that is resumed within an epoch would draw others.
Workers that persist would keep the copy of the dataset that they began with. Here nothing depends on the worker: the
random numbers of a batch follow from the run's seed, the epoch and the batch's first sample.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Sampler

from emprune.randomness import derive_seed

__all__ = ["SeededRequest", "SeededRequests"]


@dataclass(frozen=True, slots=True)
class SeededRequest:
    """A batch that is asked for.

    Attributes:
        request: Which one, as the dataset takes it.
        epoch: The epoch.
        seed: The run's; None where the user's generator seeds the workers.
    """

    request: Any
    epoch: int
    seed: int | None

    def seed_worker(self, purpose: str, *numbers: int) -> None:
        """Seed the global generators of Python, NumPy and torch's CPU, in this process.

        Args:
            purpose: What they are for in this epoch.
            *numbers: Such as the batch's first sample, which no other batch of the epoch has.
        """
        if self.seed is None:
            return
        seed = derive_seed(self.seed, f"worker, {purpose}", self.epoch, *numbers)
        random.seed(seed)
        torch.default_generator.manual_seed(seed)  # torch.manual_seed looks for GPUs as well
        np.random.seed([seed % 2**32, seed >> 32, 1])  # noqa: NPY002 - without the 1 it would draw as Python's does


class SeededRequests(Sampler[SeededRequest]):
    """Yields what another batch sampler does, with the epoch and the seed.

    Args:
        batches: The other one.
        seed: The run's; None where the user's generator seeds the workers.
    """

    def __init__(self, batches: Sampler[Any], seed: int | None) -> None:
        self.batches = batches
        self._seed = seed
        self._epoch = -1

    def next_is_of(self, epoch: int) -> None:
        """Set the epoch of the passes that begin from now on."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[SeededRequest]:
        epoch = self._epoch
        return (SeededRequest(request, epoch, self._seed) for request in self.batches)

    def __len__(self) -> int:
        return len(self.batches)  # type: ignore[arg-type]
