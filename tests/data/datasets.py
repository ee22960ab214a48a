"""Tiny datasets that know their positions; at module level, so that spawned workers find them."""

import multiprocessing
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset


class Positions(Dataset[Tensor]):
    """Sample i is tensor(i); fetching it fails at some positions."""

    def __init__(self, size: int, *, failing: Sequence[int] = ()) -> None:
        self.size, self.failing = size, set(failing)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Tensor:
        if index in self.failing:
            raise ValueError(f"sample {index} is broken")
        return torch.tensor(index)


class Overtaken(Positions):
    """A sample that takes until another worker has fetched a later one: slow, but not by the clock."""

    def __init__(self, size: int, *, slow: int, later: int) -> None:
        super().__init__(size)
        self.slow, self.later = slow, later
        self.passed = multiprocessing.get_context("fork").Event()

    def __getitem__(self, index: int) -> Tensor:
        if index == self.later:
            self.passed.set()
        if index == self.slow and not self.passed.is_set():
            assert self.passed.wait(60)
            time.sleep(0.5)  # until what was fetched before it has left the other worker, on a busy machine too
        return super().__getitem__(index)


class Vectorised(Dataset[Any]):
    """Fetched by the batch or not at all; counts the calls, and loses samples on demand."""

    def __init__(self, size: int, *, lost: int = 0) -> None:
        self.size, self.lost, self.calls = size, lost, 0

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Tensor:
        raise AssertionError("fetched sample by sample")

    def __getitems__(self, index: list[int]) -> list[Tensor]:
        self.calls += 1
        return [torch.tensor(i) for i in index[self.lost :]]


class Draws(Dataset[Tensor]):
    """Sample i is (i, a number from torch's global generator), as an augmentation would draw it."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Tensor:
        return torch.tensor([index, int(torch.randint(1 << 20, ()))])
