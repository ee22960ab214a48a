"""PrunedLoader: the user's DataLoader, delivering the plan."""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from emprune.data.indexed import unpacked
from emprune.data.place import Place
from emprune.data.planned import PlannedLoader
from emprune.data.rebuild import check_prunable, rebuilt
from emprune.data.sampler import PlanBatchSampler
from emprune.pruner import DataPruner
from emprune.randomness import derive_seed

__all__ = ["PrunedLoader"]


class PrunedLoader(PlannedLoader):
    """Delivers the pruner's plan through a DataLoader made like the user's.

    The given loader is not changed and not iterated: one of the same class is built around its dataset, collate
    function, workers and every other argument; its sampler is replaced by the plan, which is always in random order.
    Batches come as ``(index, batch)``, with `batch` what the user's loader would give; its collate function must keep
    the order of its samples.

    Args:
        loader: A DataLoader (or subclass, such as torchdata's StatefulDataLoader) over a map-style dataset, with a
            random, sequential or distributed sampler.
        pruner: The pruner.
        accumulation: Batches per optimizer step.

    Attributes:
        loader: The loader inside, for a framework that needs a DataLoader; it follows `set_epoch`. A
            StatefulDataLoader may be resumed through its own state instead of this one's, but not through both.
        dataset: The user's dataset.

    Raises:
        ConfigError: If the loader cannot be pruned (an IterableDataset, `batch_size=None`, a custom sampler), or its
            dataset is not the pruner's.

    Example:
        >>> import emprune
        >>> from torch.utils.data import TensorDataset
        >>> dataset = TensorDataset(torch.arange(8.0))
        >>> pruner = emprune.DataPruner(emprune.Random(), num_samples=8, num_epochs=2, keep=0.5)
        >>> loader = PrunedLoader(DataLoader(dataset, batch_size=2, shuffle=True), pruner)
        >>> loader.set_epoch(0)
        >>> all(x.long().equal(index) for index, (x,) in loader)
        True
    """

    def __init__(self, loader: DataLoader[Any], pruner: DataPruner, *, accumulation: int = 1) -> None:
        check_prunable(loader, world_size=pruner.world_size)
        assert loader.batch_size is not None
        super().__init__(
            pruner,
            num_samples=len(loader.dataset),  # type: ignore[arg-type]
            batch_size=loader.batch_size,
            accumulation=accumulation,
            drop_last=loader.drop_last,
        )
        self._sampler = PlanBatchSampler(loader.batch_size)
        self._seeded = None if loader.generator is not None else torch.Generator()
        self._in_order = loader.num_workers == 0 or getattr(loader, "in_order", True)
        self._resumes_itself = hasattr(loader, "load_state_dict")
        self.loader = rebuilt(loader, self._sampler, self._seeded or loader.generator)
        self.dataset = loader.dataset

    def set_epoch(self, epoch: int) -> None:  # noqa: D102 - inherited
        super().set_epoch(epoch)
        self._prepare(self._start(self.pruner.plan))

    def _dataset_length(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def _deliver(self, place: Place) -> Iterator[tuple[Tensor, Any]]:
        self._prepare(place)
        # An iterator draws from the generator on the default device, which may be another than the generator's. Workers
        # that are forked here inherit the context, which doubles what small tensors cost: only where it is needed.
        is_elsewhere = self._seeded is not None and torch.get_default_device().type != "cpu"
        with torch.device("cpu") if is_elsewhere else nullcontext():
            batches = iter(self.loader)
        return map(unpacked, batches)

    def _prepare(self, place: Place) -> None:
        self._sampler.deliver(place.rest, last=place.last)
        if self._seeded is not None:
            seed = derive_seed(self.pruner.seed, "workers", self.pruner.epoch, self.pruner.rank)
            self._seeded.manual_seed(seed)
