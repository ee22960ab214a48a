"""A dataset and a collate function whose batches carry their indices, from the worker to the loss."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from emprune.errors import ConfigError

__all__ = ["IndexedCollate", "IndexedDataset", "IndexedSamples", "IndexedWorkerInit", "PackedIndex", "unpacked"]

PackedIndex: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class IndexedSamples:
    """Samples of one batch, uncollated, with their positions in the dataset."""

    index: list[int]
    samples: Any


class IndexedDataset(Dataset[Any]):
    """The user's dataset, fetched a batch at a time together with the indices.

    A dataset that has `__getitems__` is asked through it, so it stays vectorised.

    Args:
        dataset: A map-style dataset.
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
        samples = many(index) if many else [self.dataset[i] for i in index]
        if isinstance(samples, list) and len(samples) != len(index):
            raise ConfigError(
                f"`dataset.__getitems__` must return one sample per index: got {len(samples)} for {len(index)} indices."
            )
        return IndexedSamples(index, samples)


@dataclass(frozen=True)
class IndexedCollate:
    """The user's collate function, given the samples alone; the index goes beside its batch.

    A batch that plainly holds fewer samples than it was given is refused here; whatever this cannot see is refused
    when its losses are observed, which must be as many as its indices.

    Args:
        collate_fn: The user's function.
    """

    collate_fn: Callable[[Any], Any]

    def __call__(self, batch: IndexedSamples) -> tuple[PackedIndex, Any]:
        """Return ((B,) int64 index, the user's batch).

        The index is NumPy's: from a worker that travels inside the message, where a tensor would bring a shared-memory
        file of its own. `unpacked` makes a tensor of it.
        """
        collated = self.collate_fn(batch.samples)
        sizes = list(_sizes(collated))
        largest = max((leading for leading, _ in sizes), default=0)
        if 1 < largest < len(batch.index) and not any(len(batch.index) in size for size in sizes):
            raise ConfigError(
                f"The `collate_fn` must keep all samples: got a batch of {largest} for {len(batch.index)} samples. "
                "Filter the dataset beforehand, so that every index stays with its sample."
            )
        return np.array(batch.index, dtype=np.int64), collated


def unpacked(batch: tuple[PackedIndex, Any]) -> tuple[Tensor, Any]:
    """Return what an `IndexedCollate` made, its index as a (B,) int64 tensor."""
    return torch.from_numpy(batch[0]), batch[1]


@dataclass(frozen=True)
class IndexedWorkerInit:
    """The user's `worker_init_fn`, which finds its own dataset in ``get_worker_info().dataset``.

    Args:
        worker_init_fn: The user's function.
    """

    worker_init_fn: Callable[[int], None]

    def __call__(self, worker_id: int) -> None:
        """Unwrap the dataset in the worker's info, then do what the user's function does."""
        info = get_worker_info()
        if info is not None and isinstance(info.dataset, IndexedDataset):
            object.__setattr__(info, "dataset", info.dataset.dataset)  # torch freezes it
        self.worker_init_fn(worker_id)


def _sizes(batch: Any) -> Iterator[tuple[int, int]]:
    """Sizes that may count samples: an array's leading two, and (0, length) of a list or tuple."""
    shape = getattr(batch, "shape", None)
    if shape is not None:
        if len(shape):
            yield int(shape[0]), int(shape[1]) if len(shape) > 1 else 0
    elif isinstance(batch, Mapping):
        for value in batch.values():
            yield from _sizes(value)
    elif isinstance(batch, Sequence) and not isinstance(batch, (str, bytes)):
        yield 0, len(batch)
        for value in batch:
            yield from _sizes(value)
