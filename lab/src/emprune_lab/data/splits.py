"""Data in memory: images, texts or blocks of tokens with labels, in a training, a test and a validation part."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic

import torch
from torch import Tensor
from typing_extensions import TypeVar

__all__ = ["Split", "Splits", "Texts", "X"]


@dataclass(frozen=True, eq=False)
class Texts:
    """Texts in memory, or pairs of texts.

    Args:
        first: N texts.
        second: The N texts that they are compared with, if any.
    """

    first: Sequence[str]
    second: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, index: Tensor, /) -> "Texts":
        """Return the texts at `index` (K,) int64."""
        chosen = index.tolist()
        second = None if self.second is None else [self.second[position] for position in chosen]
        return Texts([self.first[position] for position in chosen], second)


X = TypeVar("X", Tensor, Texts, default=Tensor)
"""What is known of samples without their labels."""


@dataclass(frozen=True)
class Split(Generic[X]):
    """Samples in memory.

    Args:
        x: Images (N, C, H, W) uint8, blocks of tokens (N, T) int16, or N texts.
        y: (N,) int64, their labels.
        paths: Of images that are files, where each lies in the user's folder; of blocks, the document of each.
        num_bytes: (N,) int64, of blocks, the bytes of text that each predicts.
    """

    x: X
    y: Tensor
    paths: Sequence[str] | None = None
    num_bytes: Tensor | None = None

    def __len__(self) -> int:
        return len(self.y)

    def take(self, index: Tensor) -> "Split[X]":
        """Return the samples at `index` (K,) int64."""
        paths = None if self.paths is None else [self.paths[position] for position in index.tolist()]
        num_bytes = None if self.num_bytes is None else self.num_bytes[index]
        return Split(self.x[index], self.y[index], paths, num_bytes)

    def to(self: "Split[Tensor]", device: torch.device) -> "Split[Tensor]":
        """Return images or blocks on `device`."""
        return Split(self.x.to(device), self.y.to(device), self.paths, self.num_bytes)


@dataclass(frozen=True)
class Splits(Generic[X]):
    """A task's data.

    Args:
        train: What is trained on.
        test: What is tested on.
        validation: What was split off the training data, if anything.
        classes: The names of the classes by label, where they have names.
    """

    train: Split[X]
    test: Split[X]
    validation: Split[X] | None = None
    classes: Sequence[str] | None = None
