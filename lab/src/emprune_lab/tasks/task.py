"""What a task is: data, and the recipe it is trained with; for images also how they are augmented and normalised."""

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from emprune_lab.data.blocks import LENGTH, VOCABULARY, read_blocks
from emprune_lab.data.cache import DataSet, data_folder
from emprune_lab.data.dividing import divide, drawn
from emprune_lab.data.splits import Splits, Texts
from emprune_lab.data.text_files import read_splits
from emprune_lab.errors import DataError
from emprune_lab.models.pretrained import fetch_pretrained

__all__ = ["BlockTask", "ImageTask", "Recipe", "Task", "TextTask", "fine_tuning", "load_splits"]


LONGEST_SLUG = 100


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


def fine_tuning(*, epochs: int, max_lr: float = 1e-4) -> Recipe:
    """Return the recipe of a text task: MiniLM by AdamW, without label smoothing."""
    return Recipe(
        model="minilm",
        epochs=epochs,
        batch_size=32,
        max_lr=max_lr,
        optimizer="adamw",
        schedule="linear",
        weight_decay=0.01,
        label_smoothing=0.0,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """A task: what all kinds have in common. It pickles, so its functions are those of modules.

    Tasks of one name and the same files are equal.

    Args:
        name: As given on the command line.
        description: One line for `emprune tasks`.
        num_classes: Classes C; labels are 0 to C − 1.
        read: Returns the splits, given the folder of `data`, or the folder of all data sets where that is None.
        data: The files it is read from; None for what needs no fetching.
        recipe: The default settings.
        recipes: Other settings, by name.
        objective: What is trained for, one of `emprune_lab.training.objectives`.
        metric: What counts at the end, by its name in `emprune_lab.metrics`.
        files: A digest of the user's own files, which may change; None where the name says what the data are.
        classes: Of the user's own files, the names of the classes by label.
        remarks: What the user must know of those files, in sentences.
    """

    kind: ClassVar[str]  # of the samples: "images", "texts" or "blocks"
    name: str
    description: str
    num_classes: int
    read: Callable[[Path], Splits[Any]]
    data: DataSet | None = None
    recipe: Recipe
    recipes: Mapping[str, Recipe] = field(default_factory=dict)
    objective: str = "classification"
    metric: str = "accuracy"
    files: str | None = None
    classes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Task) and (self.name, self.files) == (other.name, other.files)

    def __hash__(self) -> int:
        return hash((self.name, self.files))

    @property
    def slug(self) -> str:
        """The name as a folder's: its last letters, where it is long."""
        return re.sub(r"(?:[^\w.]|_)+", "-", self.name).strip("-")[-LONGEST_SLUG:]

    def fetch(self, model: str, data_dir: Path | None = None, *, say: Callable[[str], None]) -> None:
        """Have what a run of a model needs in `data_dir` (None: the user's cache), saying what is fetched.

        Raises:
            DataError: If it can neither be found nor fetched.
        """
        if self.data is not None:
            self.data.fetch(data_dir, say=say)

    def load(self, data_dir: Path | None = None) -> Splits[Any]:
        """Return the splits of the data in `data_dir` (None: the user's cache), fetched first if they are not there.

        Raises:
            DataError: If the data can neither be found nor fetched, or are damaged.
        """
        folder = data_folder(data_dir) if self.data is None else self.data.ensure(data_dir)
        splits = self.read(folder)
        if splits.classes is not None and len(splits.classes) != self.num_classes:
            raise DataError(f"{self.name} must have {self.num_classes} classes; got {len(splits.classes)} in {folder}.")
        return splits


@dataclass(frozen=True, kw_only=True, eq=False)
class TextTask(Task):
    """A task on texts or pairs of texts, for which a pretrained language model is fine-tuned.

    Args:
        read: As for all tasks, but usually left out: its data are `emprune_lab.data.text_files`.
        max_length: Tokens after which a text is cut off, unless a run says another number.
    """

    kind = "texts"
    read: Callable[[Path], Splits[Texts]] = read_splits
    max_length: int

    def fetch(self, model: str, data_dir: Path | None = None, *, say: Callable[[str], None]) -> None:
        """Have the data and the pretrained model on this machine, as `Task.fetch` says."""
        super().fetch(model, data_dir, say=say)
        fetch_pretrained(model, data_dir=data_dir, say=say)


@dataclass(frozen=True, kw_only=True, eq=False)
class BlockTask(Task):
    """A task on documents in blocks of tokens, on which a causal language model is trained from scratch.

    Args:
        read: As for all tasks, but usually left out: its data are `emprune_lab.data.blocks`.
        length: Predictions in a block.
        vocabulary: Tokens to choose from.
    """

    kind = "blocks"
    read: Callable[[Path], Splits] = read_blocks
    objective: str = "language-model"
    metric: str = "bits per byte"
    length: int = LENGTH
    vocabulary: int = VOCABULARY


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageTask(Task):
    """A task on images, for which a network is trained from scratch.

    Args:
        input_shape: (channels, height, width).
        mean: Mean of the raw pixel values over the training data, per channel.
        std: Their standard deviation, per channel.
        augment: Maps (generator, raw batch) to an augmented raw batch.
    """

    kind = "images"
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


def load_splits(
    task: Task,
    data_dir: Path | None = None,
    *,
    subset_fraction: float = 1.0,
    leave_out: int = 0,
    seed: int = 0,
    **division: Any,
) -> Splits[Any]:
    """Return what a run trains and scores on; the data that were loaded last are kept.

    Args:
        task: What is trained on.
        data_dir: Where data sets are cached; None is the user's cache.
        subset_fraction: The share of the training samples that `seed` draws, in (0, 1].
        leave_out: How many of those are left out again, >= 0.
        seed: The run's.
        **division: What `divide` takes.
    """
    splits = _divided(task, data_dir, **division)
    if subset_fraction == 1 and leave_out == 0:
        return splits
    chosen = drawn(len(splits.train), fraction=subset_fraction, leave_out=leave_out, seed=seed)
    return dataclasses.replace(splits, train=splits.train.take(chosen))


@lru_cache(maxsize=1)
def _divided(task: Task, data_dir: Path | None, **subset: Any) -> Splits[Any]:
    return divide(task.load(data_dir), **subset)
