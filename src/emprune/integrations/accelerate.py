"""Hugging Face Accelerate: a loader whose last batch, device and place in the epoch the `Accelerator` knows."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader

from emprune.data.indexed import IndexedDataset
from emprune.data.loader import PrunedLoader
from emprune.data.place import Place
from emprune.data.planned import PlannedLoader
from emprune.errors import ConfigError, StateError
from emprune.pruner import DataPruner

try:
    from accelerate import Accelerator
    from accelerate.data_loader import DataLoaderDispatcher, DataLoaderShard
    from accelerate.utils import gather_object, send_to_device
except ModuleNotFoundError as error:
    if error.name != "accelerate":
        raise
    raise ModuleNotFoundError(
        "emprune.integrations.accelerate needs the package 'accelerate': pip install 'emprune[accelerate]'",
        name="accelerate",
    ) from error

__all__ = ["AcceleratedLoader", "prepare"]


def prepare(accelerator: Accelerator, dataloader: DataLoader[Any], pruner: DataPruner) -> "AcceleratedLoader":
    """Return the loader of an accelerated training loop: this process's share of the plan, on its device.

    Takes the place of ``accelerator.prepare(dataloader)``. From then on `accelerator.save_state` and `load_state`,
    called on all processes, carry the pruner and the loader's place in the epoch.

    Args:
        accelerator: The accelerator. Its accumulation steps are part of the quantum, and a short window at the end of
            an epoch is stepped, as it is with accelerate's own loaders.
        dataloader: A DataLoader that PrunedLoader accepts; `batch_size` is per process.
        pruner: The pruner, made after the accelerator, which starts the processes.

    Raises:
        ConfigError: If the loader is sharded already, or the accelerator deals out batches differently.

    Example:
        >>> import emprune, torch
        >>> from torch.utils.data import TensorDataset
        >>> accelerator = Accelerator(cpu=True)
        >>> dataset = TensorDataset(torch.arange(8.0))
        >>> pruner = emprune.DataPruner(emprune.Random(), num_samples=8, num_epochs=2, keep=0.5)
        >>> loader = prepare(accelerator, DataLoader(dataset, batch_size=2, shuffle=True), pruner)
        >>> loader.total_steps
        4
    """
    _check_unsharded(dataloader)
    _check_accelerator(accelerator, pruner)
    loader = AcceleratedLoader(dataloader, pruner, accelerator=accelerator)
    accelerator.register_for_checkpointing(_Checkpoint(loader))
    return loader


class AcceleratedLoader(PrunedLoader):
    """A PrunedLoader in an accelerated loop; `prepare` makes it.

    Batches come as ``(index, batch)``, with `batch` on the accelerator's device and the index on the CPU. No batch is
    fetched ahead of the loop: the plan tells which one is the last.

    Args:
        loader: The DataLoader.
        pruner: The pruner.
        accelerator: The accelerator.
    """

    def __init__(self, loader: DataLoader[Any], pruner: DataPruner, *, accelerator: Accelerator) -> None:
        super().__init__(loader, pruner, accumulation=accelerator.gradient_accumulation_steps)
        self._accelerator = accelerator

    def _deliver(self, place: Place) -> Iterator[tuple[Tensor, Any]]:
        batches = super()._deliver(place)
        return _Batches(self._accelerator, batches, num_batches=len(self._sampler))


class _End:
    """What accelerate asks of the loader that is being iterated."""

    end_of_dataloader = False
    remainder = 0  # samples repeated to fill the last batch, which gather_for_metrics would drop


class _Batches(Iterator[tuple[Tensor, Any]]):
    """Batches on the device; accelerate is told of the last one before it is handed out, and of the end."""

    def __init__(self, accelerator: Accelerator, batches: Iterator[tuple[Tensor, Any]], *, num_batches: int) -> None:
        self._accelerator, self._batches, self._num_left = accelerator, batches, num_batches
        self._end = _End()
        accelerator.gradient_state._add_dataloader(self._end)

    def __next__(self) -> tuple[Tensor, Any]:
        self._num_left -= 1
        self._end.end_of_dataloader = self._num_left == 0
        try:
            index, batch = next(self._batches)
        except StopIteration:
            self._leave()
            raise
        if self._accelerator.device_placement:
            device, non_blocking = self._accelerator.device, self._accelerator.non_blocking
            batch = send_to_device(batch, device, non_blocking=non_blocking)
        return index, batch

    def __del__(self) -> None:
        """A loop that was broken off is over, too."""
        self._leave()

    def _leave(self) -> None:
        self._accelerator.gradient_state._remove_dataloader(self._end)


class _Checkpoint:
    """What `save_state` keeps: the pruner, and each process's place in the epoch."""

    def __init__(self, loader: AcceleratedLoader) -> None:
        self._loader = loader

    def state_dict(self) -> dict[str, Any]:
        pruner = self._loader.pruner
        pruner.sync()
        return {"pruner": pruner.state_dict(), "places": gather_object([self._loader.state_dict()])}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if set(state) != {"pruner", "places"}:
            raise StateError(
                f"This is not the state of a pruned loader: got the keys {sorted(map(str, state))}. Register objects "
                "for checkpointing in the order in which they were registered when the state was saved."
            )
        pruner, places = self._loader.pruner, state["places"]
        if len(places) != pruner.world_size:
            raise StateError(
                f"The state was saved by {len(places)} process(es) and is loaded by {pruner.world_size}: a plan is "
                "made for a number of processes. Resume with as many as before."
            )
        pruner.load_state_dict(state["pruner"])
        self._loader.load_state_dict(places[pruner.rank])


def _check_unsharded(dataloader: object) -> None:
    if isinstance(getattr(dataloader, "dataset", None), IndexedDataset):
        found = "the loader inside a PrunedLoader"
    elif isinstance(dataloader, (PlannedLoader, DataLoaderShard, DataLoaderDispatcher)):
        found = f"a {type(dataloader).__name__}"
    else:
        return
    raise ConfigError(
        f"`dataloader` must not be sharded yet, or each process would get a share of its share: got {found}. "
        "Hand over the DataLoader it was made from."
    )


def _check_accelerator(accelerator: Accelerator, pruner: DataPruner) -> None:
    num_processes = accelerator.num_processes
    if getattr(accelerator, "parallelism_config", None) is not None:
        raise ConfigError(
            "`parallelism_config` cannot be honoured: processes that share a model must get the same batch, and the "
            "plan is divided among all of them. Leave it out, and see docs/ranks.md for groups of your own."
        )
    if pruner.world_size != num_processes:
        raise ConfigError(
            f"Every process must have its own share of the data: got {num_processes} process(es) and a pruner for "
            f"{pruner.world_size} rank(s). Make the Accelerator first, then the pruner."
        )
    if accelerator.split_batches or accelerator.dispatch_batches:
        raise ConfigError(
            "`split_batches` and `dispatch_batches` cannot be honoured: each process fetches its own batches of the "
            "plan. Leave them out, and give the DataLoader the batch size of one process."
        )
    if not accelerator.gradient_state.sync_with_dataloader:
        raise ConfigError(
            "`sync_with_dataloader=False` would carry a short accumulation window over to the next epoch, and the run "
            "would make fewer steps than planned. Leave it out."
        )
