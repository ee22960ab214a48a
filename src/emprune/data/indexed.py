"""A dataset and a collate function whose batches carry their indices, from the worker to the loss."""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from emprune.errors import ConfigError

__all__ = [
    "InOrder",
    "IndexedCollate",
    "IndexedDataset",
    "IndexedSamples",
    "IndexedWorkerInit",
    "PackedIndex",
    "unpacked",
]

PackedIndex: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class IndexedSamples:
    """Samples of one batch, uncollated, with their positions in the dataset."""

    index: list[int]
    samples: Any


class IndexedDataset(Dataset[Any]):
    """The user's dataset, fetched a batch at a time together with the indices.

    A dataset that has `__getitems__` is asked through it, so it stays vectorised. It must return the samples in the
    order of the indices, which says whose loss is whose; a DataLoader alone does not need that. One that sorts the list
    it is given is refused; one that sorts a copy, as for HDF5, and does not put the samples back in order, is not seen.

    Args:
        dataset: A map-style dataset.

    Raises:
        ConfigError: If `__getitems__` changes the indices, or returns more or fewer samples.
    """

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> IndexedSamples:
        return self.__getitems__([index])

    def __getitems__(self, index: list[int]) -> IndexedSamples:
        """Fetch a batch of samples."""
        many = getattr(self.dataset, "__getitems__", None)
        asked = list(index)
        samples = many(asked) if many else [self.dataset[i] for i in index]
        if asked != index:
            raise ConfigError(
                "`dataset.__getitems__` must return the samples in the order of the indices, which says whose loss is "
                "whose: it changed the list it was given. Sort a copy, and put what was read back in order."
            )
        if isinstance(samples, list) and len(samples) != len(index):
            raise ConfigError(
                f"`dataset.__getitems__` must return one sample per index: got {len(samples)} for {len(index)} indices."
            )
        return IndexedSamples(index, samples)


@dataclass(frozen=True)
class IndexedCollate:
    """The user's collate function, given the samples alone; the index goes beside its batch.

    It must keep the samples' order, which is what says whose loss is whose. One that sorts the list it is given is
    refused here; one that makes another list of it is not seen. One that drops samples is refused when their losses are
    observed, which must be as many as the indices.

    Args:
        collate_fn: The user's function.
    """

    collate_fn: Callable[[Any], Any]

    def __call__(self, batch: IndexedSamples) -> tuple[PackedIndex, Any]:
        """Return ((B,) int64 index, the user's batch).

        The index is NumPy's: from a worker that travels inside the message, where a tensor would bring a shared-memory
        file of its own. `unpacked` makes a tensor of it.
        """
        return np.array(batch.index, dtype=np.int64), InOrder(self.collate_fn)(batch.samples)


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
                "The `collate_fn` must keep the samples and their order, which say whose loss is whose: it changed "
                "the list it was given. Sort in the model instead, as pack_padded_sequence(..., enforce_sorted=False) "
                "does, replace samples in a copy of the list, and filter the dataset beforehand."
            )
        return collated


def unpacked(batch: tuple[PackedIndex, Any]) -> tuple[Tensor, Any]:
    """Return what an `IndexedCollate` made, its index as a (B,) int64 tensor."""
    return torch.from_numpy(batch[0]), batch[1]


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
        if info is not None and isinstance(info.dataset, IndexedDataset):
            object.__setattr__(info, "dataset", info.dataset.dataset)  # torch freezes it
        if self.worker_init_fn is not None:
            self.worker_init_fn(worker_id)


def _is_same(before: list[Any], after: list[Any]) -> bool:
    """Whether two lists hold the same objects in the same order."""
    return len(before) == len(after) and all(map(operator.is_, before, after))
