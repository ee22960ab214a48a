"""What a task is: data, and the recipe it is trained with; for images also how they are augmented and normalised."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, Self

import torch
from torch import Tensor
from typing_extensions import TypeVar

__all__ = ["ImageTask", "Recipe", "Samples", "Split", "Splits", "Task", "TextTask", "Texts"]


class Samples(Protocol):
    """What is known of N samples without their labels: images in a tensor, or texts."""

    def __len__(self) -> int:
        """Return N."""

    def __getitem__(self, index: Tensor, /) -> Self:
        """Return the samples at `index` (K,) int64."""


X = TypeVar("X", bound=Samples, default=Tensor)


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


@dataclass(frozen=True)
class Split(Generic[X]):
    """Samples in memory.

    Args:
        x: Images (N, C, H, W) uint8, or N texts.
        y: (N,) int64, their labels.
        paths: Of images that are files, where each lies in the user's folder.
    """

    x: X
    y: Tensor
    paths: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.y)

    def take(self, index: Tensor) -> "Split[X]":
        """Return the samples at `index` (K,) int64."""
        paths = None if self.paths is None else [self.paths[position] for position in index.tolist()]
        return Split(self.x[index], self.y[index], paths)

    def to(self: "Split[Tensor]", device: torch.device) -> "Split[Tensor]":
        """Return images on `device`."""
        return Split(self.x.to(device), self.y.to(device), self.paths)


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
    """A classification task: what all kinds have in common.

    Args:
        name: As given on the command line.
        description: One line for `emprune tasks`.
        num_classes: Classes C; labels are 0 to C − 1.
        load: Returns the splits, given the folder data sets are cached in (None: the user's cache).
        recipe: The default settings.
        recipes: Other settings, by name.
        objective: What is trained for, one of `emprune_lab.training.objectives`.
        files: Returns a digest of the user's own files, which may change; None where the name says what the data are.
    """

    name: str
    description: str
    num_classes: int
    load: Callable[[Path | None], Splits[Any]]
    recipe: Recipe
    recipes: Mapping[str, Recipe] = field(default_factory=dict)
    objective: str = "classification"
    files: Callable[[], str] | None = None

    @property
    def slug(self) -> str:
        """The name as a folder's."""
        return re.sub(r"[^A-Za-z0-9.]+", "-", self.name).strip("-")


@dataclass(frozen=True, kw_only=True)
class TextTask(Task):
    """A task on texts or pairs of texts, for which a pretrained language model is fine-tuned.

    Args:
        max_length: Tokens after which a text is cut off.
        metric: What counts at the end, by its name in `emprune_lab.training.texts.metrics`.
    """

    max_length: int
    metric: str = "accuracy"


@dataclass(frozen=True, kw_only=True)
class ImageTask(Task):
    """A task on images, for which a network is trained from scratch.

    Args:
        input_shape: (channels, height, width).
        mean: Mean of the raw pixel values over the training data, per channel.
        std: Their standard deviation, likewise.
        augment: Maps (generator, raw batch) to an augmented raw batch.
    """

    input_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augment: Callable[[torch.Generator, Tensor], Tensor]

    def normalise(self, x: Tensor) -> Tensor:
        """Return raw pixels (B, C, H, W) uint8 as float32 of mean 0 and standard deviation 1."""
        moments = torch.tensor([self.mean, self.std]).to(x.device, non_blocking=True)  # `device=` waits for a GPU
        mean, std = moments[:, :, None, None]
        return x.float().sub_(mean).div_(std)

    def transform(self, generator: torch.Generator, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Augment and normalise a training batch; the signature is ArrayLoader's."""
        return self.normalise(self.augment(generator, x)), y
