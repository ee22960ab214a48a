"""What a task is: data, how it is augmented and normalised, and the recipe it is trained with."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

__all__ = ["Recipe", "Split", "Splits", "Task"]


@dataclass(frozen=True)
class Split:
    """Samples in memory: `x` (N, C, H, W) uint8 and `y` (N,) int64."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def take(self, index: Tensor) -> "Split":
        """Return the samples at `index` (K,) int64."""
        return Split(self.x[index], self.y[index])

    def to(self, device: torch.device) -> "Split":
        """Return the samples on `device`."""
        return Split(self.x.to(device), self.y.to(device))


@dataclass(frozen=True)
class Splits:
    """A task's data: what is trained on, what is tested on, and what was split off the training data, if anything."""

    train: Split
    test: Split
    validation: Split | None = None


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The settings a task is trained with unless told otherwise. `max_lr` is the schedule's peak."""

    model: str
    epochs: int
    batch_size: int
    max_lr: float
    optimizer: str = "sgd"
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    schedule: str = "one-cycle"


@dataclass(frozen=True, kw_only=True)
class Task:
    """An image classification task.

    Args:
        name: As given on the command line.
        description: One line for `emprune tasks`.
        num_classes: Classes C; labels are 0 to C − 1.
        input_shape: (channels, height, width).
        mean: Mean of the raw pixel values over the training data, per channel.
        std: Their standard deviation, likewise.
        load: Returns the splits, given the folder data sets are cached in (None: the user's cache).
        augment: Maps (generator, raw batch) to an augmented raw batch.
        recipe: The default settings.
        recipes: Other settings, by name.
        objective: What is trained for, one of `emprune.lab.objectives`.
    """

    name: str
    description: str
    num_classes: int
    input_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    load: Callable[[Path | None], Splits]
    augment: Callable[[torch.Generator, Tensor], Tensor]
    recipe: Recipe
    recipes: Mapping[str, Recipe] = field(default_factory=dict)
    objective: str = "classification"

    @property
    def slug(self) -> str:
        """The name as a folder's."""
        return re.sub(r"[^A-Za-z0-9.]+", "-", self.name).strip("-")

    def normalise(self, x: Tensor) -> Tensor:
        """Return raw pixels (B, C, H, W) uint8 as float32 of mean 0 and standard deviation 1."""
        mean, std = (torch.tensor(moment, device=x.device).view(-1, 1, 1) for moment in (self.mean, self.std))
        return x.float().sub_(mean).div_(std)

    def transform(self, generator: torch.Generator, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Augment and normalise a training batch; the signature is ArrayLoader's."""
        return self.normalise(self.augment(generator, x)), y
