"""What loaders around a DataLoader share: one like the given one, inside, that follows the plan."""

import weakref
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from emprune.checks import whole_number
from emprune.data.cursor import Cursor
from emprune.data.delivery import Delivery
from emprune.data.indexed import AroundDataset, Delivered, unpacked
from emprune.data.planned import PlannedLoader
from emprune.data.rebuild import BatchesOfPlan, Batching, evaluating, rebuilt
from emprune.data.sampler import EpochSampler
from emprune.data.seeding import SeededRequests
from emprune.errors import ConfigError, StateError
from emprune.given import PositionsLike, as_positions
from emprune.pruner import DataPruner
from emprune.randomness import derive_seed

__all__ = ["LoaderAround"]

_OF_THE_DATALOADER = frozenset(
    (
        "num_workers",
        "collate_fn",
        "pin_memory",
        "timeout",
        "worker_init_fn",
        "multiprocessing_context",
        "generator",
        "prefetch_factor",
        "persistent_workers",
        "pin_memory_device",
        "in_order",
    )
)


class LoaderAround(PlannedLoader):
    """A loader around a DataLoader like the given one: the plan replaces its sampler, all else is kept.

    Args:
        dataloader: The given one; it is not changed and not iterated.
        pruner: The pruner.
        accumulation: Batches per optimizer step.
        batches: What the DataLoader inside asks its dataset for.
        indexed: The user's dataset, fetched a batch at a time together with the indices.
    """

    _fixed = PlannedLoader._fixed | _OF_THE_DATALOADER | {"dataset", "batch_sampler", "loader"}

    def __init__(
        self,
        dataloader: DataLoader[Any],
        pruner: DataPruner,
        *,
        accumulation: int,
        batches: BatchesOfPlan,
        indexed: AroundDataset,
    ) -> None:
        batching = Batching.of(dataloader)
        super().__init__(
            pruner, batch_size=batching.batch_size, accumulation=accumulation, drop_last=batching.drop_last
        )
        self.dataset = dataloader.dataset
        self.batch_sampler = self._batch_sampler = batches
        self._given = dataloader
        self._indexed = indexed
        self._seeded = None if dataloader.generator is not None else torch.Generator()
        self._in_order = dataloader.num_workers == 0 or getattr(dataloader, "in_order", True)
        self._asked = SeededRequests(batches, None if self._seeded is None else pruner.seed)
        self.loader = rebuilt(dataloader, indexed, self._asked, self._seeded or dataloader.generator)
        self._tie_states()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._tie_states()  # a copy's DataLoader inside has the copy's state

    def __getattr__(self, name: str) -> Any:
        if name in _OF_THE_DATALOADER and "_given" in self.__dict__:
            return getattr(self._given, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def sampler(self) -> EpochSampler:
        """The samples of a new pass. Its `set_epoch` plans an epoch, as scripts for several ranks call it."""
        return EpochSampler(self)

    def set_epoch(self, epoch: int) -> None:  # noqa: D102 - inherited
        super().set_epoch(epoch)
        self._enter(self._begun)

    def evaluation(self, *, batch_size: int | None = None, index: PositionsLike | None = None) -> DataLoader[Any]:
        """Return an ordinary DataLoader over all of the data, in order, for scoring: nothing is chosen or observed.

        What this loader delivers is a chosen part. Averages over it are not those of the training data. A stream is
        read in the order of its index.

        Args:
            batch_size: Samples per batch; None for this loader's.
            index: (M,) integers, the samples to score, each once, such as `pruner.probe()`. Or (N,) True and False,
                such as `pruner.kept`. None for all.

        Raises:
            ConfigError: If a value is out of range.
        """
        batch_size = self.batch_size if batch_size is None else whole_number("batch_size", batch_size, least=1)
        part = None if index is None else self._checked(index)
        return evaluating(self._given, batch_size, self._part(part, batch_size))

    def load_state_dict(self, state: Any) -> None:  # noqa: D102 - inherited
        super().load_state_dict(state)
        if self._delivery is not None and not self._delivery.ended:  # what is over need not divide among these ranks
            self._enter(self._delivery)

    def _checked(self, index: PositionsLike) -> Tensor:
        """Return the positions of samples to be scored, in their order."""
        positions, found = as_positions(index, self.pruner.num_samples)
        if found is not None:
            raise ConfigError(
                f"`index` must be positions in [0, {self.pruner.num_samples}), each once, or (N,) True and False; got "
                f"{found}. Pass such as pruner.probe().",
                parameter="index",
                value=index,
            )
        return positions

    def _tie_states(self) -> None:
        """Give a StatefulDataLoader inside this loader's state: its own knows no epochs."""
        if hasattr(self.loader, "load_state_dict"):
            for name in ("state_dict", "load_state_dict"):
                setattr(self.loader, name, _OfOuter(self, name))

    def _deliver(self, cursor: Cursor) -> Iterator[Delivered]:
        self._prepare(cursor)
        # An iterator draws from the generator on the default device, which may be another than the generator's. Workers
        # that are forked here inherit the context, which doubles what small tensors cost: only where it is needed.
        is_elsewhere = self._seeded is not None and torch.get_default_device().type != "cpu"
        with torch.device("cpu") if is_elsewhere else nullcontext():
            batches = iter(self.loader)
        return map(unpacked, batches)

    def _enter(self, delivery: Delivery) -> None:
        self._indexed.tell(self.pruner.epoch)
        self._prepare(delivery.new_pass())

    def _prepare(self, cursor: Cursor) -> None:
        self._ask_for(cursor)
        self._asked.next_is_of(self.pruner.epoch)
        if self._seeded is not None:  # what a `worker_init_fn` finds
            self._seeded.manual_seed(derive_seed(self.pruner.seed, "workers", self.pruner.epoch, self.pruner.rank))

    @abstractmethod
    def _part(self, index: Tensor | None, batch_size: int) -> Dataset[Any]:
        """Return the dataset of these samples alone, or of all, in order, for batches of this size."""

    @abstractmethod
    def _ask_for(self, cursor: Cursor) -> None:
        """Let the DataLoader inside ask for the batches from a cursor on."""


class _OfOuter:
    """A method of the loader outside, for the DataLoader inside.

    The loader is held weakly. In a cycle, the workers of a loader that is gone would live on until they are collected.
    """

    def __init__(self, loader: LoaderAround | None = None, name: str = "") -> None:
        self._loader, self._name = None if loader is None else weakref.ref(loader), name

    def __call__(self, *arguments: Any) -> Any:
        loader = None if self._loader is None else self._loader()
        if loader is None:
            raise StateError("The PrunedLoader around this DataLoader must exist; got one that is gone. Keep it.")
        return getattr(loader, self._name)(*arguments)

    def __reduce__(self) -> Any:
        return _OfOuter, ()  # a copy is tied to its own
