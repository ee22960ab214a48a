"""A dataset and a collate function that add to each batch its index, from the worker to the loss."""

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from emprune.data.seeding import SeededRequest
from emprune.errors import ConfigError
from emprune.given import PositionsLike, as_positions

__all__ = [
    "AroundDataset",
    "BatchAlone",
    "Delivered",
    "InOrder",
    "IndexedCollate",
    "IndexedDataset",
    "IndexedSamples",
    "IndexedWorkerInit",
    "KeptSamples",
    "Packed",
    "PackedIndex",
    "unpacked",
]

PackedIndex: TypeAlias = npt.NDArray[np.int64]
Packed: TypeAlias = tuple[PackedIndex, Any] | tuple[PackedIndex, PackedIndex, Any]


@dataclass(frozen=True, slots=True)
class Delivered:
    """A batch on its way to the loop.

    Attributes:
        asked: (B,) int64, the samples that were fetched.
        index: (B',) int64, those of them that are in the batch; fewer where a collate function drops some.
        batch: The user's batch.
    """

    asked: Tensor
    index: Tensor
    batch: Any

    @property
    def left_out(self) -> Tensor:
        """(B - B',) int64, those that were fetched and are not in the batch."""
        if len(self.index) == len(self.asked):  # most batches, told at no cost
            return self.asked[:0]
        return self.asked[~torch.isin(self.asked, self.index)]


@dataclass(frozen=True, slots=True)
class IndexedSamples:
    """Samples of one batch, uncollated, with their positions in the dataset.

    Attributes:
        index: The samples' positions.
        samples: The samples.
        asked: The positions that were asked for, where some of them are left out; None where all are there.
    """

    index: list[int]
    samples: Any
    asked: list[int] | None = None


class AroundDataset(Dataset[Any], ABC):
    """A wrapper of the user's dataset that callbacks and frameworks look through.

    Args:
        dataset: The user's dataset.
    """

    _own = frozenset({"dataset", "_epoch_told"})
    """The attributes that are not the user's dataset's."""

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset: Any = dataset
        self._epoch_told: int | None = None  # by `tell`

    def __getitems__(self, asked: SeededRequest) -> IndexedSamples:
        """Fetch a batch of samples. In the process of the loop nothing is seeded."""
        if get_worker_info() is not None:
            if self._epoch_told != asked.epoch:
                asked.seed_worker("epoch")  # every worker makes the same of it
                self.tell(asked.epoch)
            asked.seed_worker("batch", self.first(asked.request))
        return self.fetch(asked.request)

    def tell(self, epoch: int) -> None:
        """Tell the dataset its epoch. A worker that starts afterwards has a copy that was told."""
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(epoch)
        self._epoch_told = epoch

    @abstractmethod
    def first(self, request: Any) -> int:
        """Return a batch's first sample."""

    @abstractmethod
    def fetch(self, request: Any) -> IndexedSamples:
        """Return the samples of a batch."""

    def __getattr__(self, name: str) -> Any:
        """Let callbacks and frameworks find what they look for on the user's dataset."""
        if name.startswith("__") or "dataset" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.dataset, name)

    def __setattr__(self, name: str, value: Any) -> None:
        target = self if name in self._own else self.dataset
        object.__setattr__(target, name, value)


class IndexedDataset(AroundDataset):
    """The user's dataset, fetched a batch at a time together with the indices.

    If a dataset has `__getitems__`, it is used, so the dataset stays vectorised. It must return the samples in the
    order of the indices, because the order assigns the losses to the samples. A DataLoader alone does not need that.
    A dataset that sorts the list of indices is refused. One that sorts a copy, as for HDF5, and does not restore the
    order, cannot be detected.

    Args:
        dataset: A map-style dataset.

    Raises:
        ConfigError: If `__getitems__` changes the indices, or returns more or fewer samples.
    """

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> IndexedSamples:
        return self.fetch([index])

    def first(self, index: list[int]) -> int:  # noqa: D102 - inherited
        return index[0]

    def fetch(self, index: list[int]) -> IndexedSamples:  # noqa: D102 - inherited
        many = getattr(self.dataset, "__getitems__", None)
        asked = list(index)
        samples = many(asked) if many else [self.dataset[i] for i in index]
        if asked != index:
            raise ConfigError(
                "`dataset.__getitems__` must return the samples in the order of the indices; it changed the list of "
                "indices. The order assigns the losses to the samples. Sort a copy of the list, and restore the order "
                "of the samples."
            )
        if isinstance(samples, list) and len(samples) != len(index):
            raise ConfigError(
                f"`dataset.__getitems__` must return one sample per index; got {len(samples)} for {len(index)} indices."
            )
        return IndexedSamples(index, samples)


@dataclass(frozen=True)
class KeptSamples:
    """What a collate function returns that leaves samples out, such as damaged ones: it says which it kept.

    The loop is handed the index of those alone. The others count as delivered and as visited, and are not observed. A
    sample that was left out twice, and never observed, comes last from then on.

    Args:
        batch: The batch.
        kept: Positions in the list that the collate function was given, in the batch's order, each once; or True and
            False for each sample of the list.

    Example:
        >>> def collate(samples):
        ...     kept = [i for i, sample in enumerate(samples) if sample is not None]
        ...     return KeptSamples(torch.tensor([samples[i] for i in kept]), kept)
        >>> delivered = unpacked(IndexedCollate(collate)(IndexedSamples([7, 2, 5], [0.5, None, 1.5])))
        >>> delivered.index, delivered.batch
        (tensor([7, 5]), tensor([0.5000, 1.5000]))
    """

    batch: Any
    kept: PositionsLike


@dataclass(frozen=True)
class IndexedCollate:
    """The user's collate function, given the samples alone; the index goes beside its batch.

    It must keep the order of the samples, because the order assigns the losses to the samples. A function that sorts
    its list is refused here. One that makes another list cannot be detected. One that drops samples returns
    `KeptSamples`; otherwise it is refused at the observation, which needs as many losses as indices.

    Args:
        collate_fn: The user's function.
    """

    collate_fn: Callable[[Any], Any]

    def __call__(self, batch: IndexedSamples) -> Packed:
        """Return ((B,) int64 index, the user's batch); the part of the index that was kept between them, if not all.

        The index is NumPy's: from a worker that travels inside the message, where a tensor would bring a shared-memory
        file of its own. `unpacked` makes a tensor of it.
        """
        index = np.array(batch.index, dtype=np.int64)
        asked = index if batch.asked is None else np.array(batch.asked, dtype=np.int64)
        collated = InOrder(self.collate_fn)(batch.samples)
        if not isinstance(collated, KeptSamples):
            return (asked, collated) if batch.asked is None else (asked, index, collated)
        kept, found = as_positions(collated.kept, index.size)
        if found is not None:
            raise ConfigError(
                f"`KeptSamples.kept` must be positions in the list of {index.size} samples, each once, or True and "
                f"False for each of them; got {found}. Return the positions of the samples that are in the batch.",
                parameter="KeptSamples.kept",
                value=collated.kept,
            )
        return asked, index[kept.numpy()], collated.batch


@dataclass(frozen=True)
class BatchAlone:
    """The user's collate function where nothing is credited to a sample, as in evaluation: of `KeptSamples` the batch.

    Args:
        collate_fn: The user's function.
    """

    collate_fn: Callable[[Any], Any]

    def __call__(self, samples: Any) -> Any:
        """Return the user's batch."""
        collated = self.collate_fn(samples)
        return collated.batch if isinstance(collated, KeptSamples) else collated


@dataclass(frozen=True)
class InOrder:
    """The user's collate function, refused where it changes the list that it is given.

    Args:
        collate_fn: The user's function.
    """

    collate_fn: Callable[[Any], Any]

    def __call__(self, samples: Any) -> Any:
        """Return the user's batch."""
        before = list(samples) if isinstance(samples, list) else None
        collated = self.collate_fn(samples)
        if before is not None and not _is_same(before, samples):
            raise ConfigError(
                "The `collate_fn` must keep the samples and their order; it changed its list. The order assigns the "
                "losses to the samples. Sort in the model instead, as pack_padded_sequence(..., enforce_sorted=False) "
                "does. To leave samples out, return emprune.data.KeptSamples(batch, kept)."
            )
        return collated


def unpacked(packed: Packed) -> Delivered:
    """Return what an `IndexedCollate` made, its indices as int64 tensors."""
    asked = torch.from_numpy(packed[0])
    return Delivered(asked, asked if len(packed) == 2 else torch.from_numpy(packed[1]), packed[-1])


@dataclass(frozen=True)
class IndexedWorkerInit:
    """Lets a worker find the user's dataset in ``get_worker_info().dataset``, and calls the user's `worker_init_fn`.

    Args:
        worker_init_fn: The user's function, if there is one.
    """

    worker_init_fn: Callable[[int], None] | None

    def __call__(self, worker_id: int) -> None:
        """Unwrap the dataset in the worker's info, then do what the user's function does."""
        info = get_worker_info()
        if info is not None and isinstance(info.dataset, AroundDataset):
            object.__setattr__(info, "dataset", info.dataset.dataset)  # torch freezes it
        if self.worker_init_fn is not None:
            self.worker_init_fn(worker_id)


def _is_same(before: list[Any], after: list[Any]) -> bool:
    """Whether two lists hold the same objects in the same order."""
    return len(before) == len(after) and all(map(operator.is_, before, after))
