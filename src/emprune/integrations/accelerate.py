"""Hugging Face Accelerate: the `Accelerator` knows the loader's last batch, device and state."""

from collections.abc import Iterator, Mapping
from typing import Any, Unpack

from torch.utils.data import DataLoader

from emprune.data.around import LoaderAround
from emprune.data.cursor import Cursor
from emprune.data.indexed import Delivered
from emprune.data.loader import PrunedLoader
from emprune.data.streams import PrunedStream
from emprune.errors import ConfigError, StateError
from emprune.integrations.shared import Budget, check_in_order, check_one_state, is_stream
from emprune.integrations.tracking import track
from emprune.methods.base import Method
from emprune.pruner import DataPruner

try:
    from accelerate import Accelerator
    from accelerate.utils import send_to_device
except ModuleNotFoundError as error:
    if error.name != "accelerate":
        raise
    raise ModuleNotFoundError(
        "emprune.integrations.accelerate needs the package 'accelerate': pip install 'emprune[accelerate]'",
        name="accelerate",
    ) from error

__all__ = ["AcceleratedLoader", "AcceleratedStream", "prepare"]


def prepare(
    accelerator: Accelerator, dataloader: DataLoader[Any], method: Method | str | DataPruner, **budget: Unpack[Budget]
) -> "AcceleratedLoader | AcceleratedStream":
    """Return the loader of an accelerated training loop: this process's shard of the plan, on its device.

    Use it instead of ``accelerator.prepare(dataloader)``. `accelerator.save_state` and `load_state` carry the loader's
    one state. Call both on all processes.

    Called again for the same dataset or pruner, as `find_executable_batch_size` does, it replaces the loader that was
    registered for saving.

    Args:
        accelerator: The accelerator. Its accumulation steps are part of the quantum.
        dataloader: A DataLoader that PrunedLoader or, over a stream, PrunedStream accepts; `batch_size` is per process.
        method: How samples are chosen: `EMP()`, its name, or a `DataPruner` that was made after the accelerator.
        **budget: As `PrunedLoader` takes it: `num_epochs` or `num_steps`, `keep`, `warmup_epochs`, `tail_epochs`,
            `seed`, `nonfinite`, `lengths`, `initial`, `data_key`; of a stream `shuffle_buffer` too.

    Raises:
        ConfigError: If the DataLoader cannot be pruned, the budget cannot be met, or the accelerator divides batches
            differently.

    Example:
        >>> import emprune, torch
        >>> from torch.utils.data import TensorDataset
        >>> accelerator = Accelerator(cpu=True)
        >>> dataloader = DataLoader(TensorDataset(torch.arange(8.0)), batch_size=2, shuffle=True)
        >>> loader = prepare(accelerator, dataloader, emprune.Random(), num_epochs=2, keep=0.5)
        >>> loader.total_steps
        4
    """
    _check_accelerator(accelerator)
    kind = AcceleratedStream if is_stream(dataloader) else AcceleratedLoader
    loader = kind(accelerator, dataloader, method, **budget)
    if loader.pruner.world_size != accelerator.num_processes:
        raise ConfigError(
            f"The pruner must share the data among all {accelerator.num_processes} process(es); got a pruner for "
            f"{loader.pruner.world_size}. Make the Accelerator first, then the pruner."
        )
    check_in_order(loader)
    _register(accelerator, loader)
    return loader


class _InAccelerator(LoaderAround):
    """What a loader in an accelerated loop does, whatever it delivers from."""

    def __init__(
        self,
        accelerator: Accelerator,
        dataloader: DataLoader[Any],
        method: Method | str | DataPruner,
        **budget: Unpack[Budget],
    ) -> None:
        made: Any = super().__init__  # of the loader that this one is, too
        made(dataloader, method, accumulation=accelerator.gradient_accumulation_steps, **budget)
        self._accelerator = accelerator
        del self.batch_sampler  # only what would skip batches asks for it

    def __getattr__(self, name: str) -> Any:
        if name == "batch_sampler":
            raise AttributeError(
                f"An {type(self).__name__} has no `batch_sampler`: accelerator.skip_first_batches must not be called, "
                "since the loader goes on by itself after load_state. Leave it out."
            )
        return super().__getattr__(name)

    def epochs(self) -> Iterator[int]:
        """Yield the epochs that are left. Accelerate's trackers get what `tracking.track` measures of each."""
        for epoch in super().epochs():
            yield epoch
            if self._accelerator.log_with:
                track(self.pruner, *(self._accelerator.trackers if self._accelerator.is_main_process else ()))

    def _deliver(self, cursor: Cursor) -> Iterator[Delivered]:
        delivered = super()._deliver(cursor)
        return _Batches(self._accelerator, delivered, num_batches=len(self._batch_sampler))  # type: ignore[arg-type]


class AcceleratedLoader(_InAccelerator, PrunedLoader):
    """A PrunedLoader in an accelerated loop; `prepare` makes it.

    Batches come as ``(index, batch)``, with `batch` on the accelerator's device and the index on the CPU. No batch is
    fetched ahead of the loop: the plan tells which one is the last.

    Args:
        accelerator: The accelerator.
        dataloader: The DataLoader.
        method: The method or pruner.
        **budget: As `PrunedLoader` takes it.
    """


class AcceleratedStream(_InAccelerator, PrunedStream):
    """A PrunedStream in an accelerated loop; `prepare` makes it, as it makes an `AcceleratedLoader`."""


class _End:
    """What accelerate asks of the loader that is being iterated; it holds a weak reference."""

    end_of_dataloader = False
    remainder = 0  # samples repeated to fill the last batch, which gather_for_metrics would drop


class _Batches(Iterator[Delivered]):
    """Batches on the device; accelerate is told of the last one before it is handed out, and of the end.

    A loop that is broken off says nothing. Accelerate forgets it by its weak reference, and whoever hands out the next
    batch says again that it is the one being iterated.
    """

    def __init__(self, accelerator: Accelerator, delivered: Iterator[Delivered], *, num_batches: int) -> None:
        self._accelerator, self._delivered, self._num_left = accelerator, delivered, num_batches
        self._end = _End()

    def __next__(self) -> Delivered:
        self._num_left -= 1
        self._end.end_of_dataloader = self._num_left == 0
        try:
            delivered = next(self._delivered)
        except StopIteration:
            self._say_iterating(None)
            raise
        self._say_iterating(self._end)
        if not self._accelerator.device_placement:
            return delivered
        device, non_blocking = self._accelerator.device, self._accelerator.non_blocking
        batch = send_to_device(delivered.batch, device, non_blocking=non_blocking)
        return Delivered(delivered.asked, delivered.index, batch)

    def _say_iterating(self, end: _End | None) -> None:
        """Put this pass last among those that accelerate knows, or take it out."""
        state = self._accelerator.gradient_state
        others = [known for known in state.dataloader_references if known is not None and known is not self._end]
        state.dataloader_references = [None, *others, *([] if end is None else [end])]


class _Checkpoint:
    """What `save_state` asks for its state, on all processes: the loader that was prepared last for a dataset."""

    def __init__(self, loader: _InAccelerator) -> None:
        self.loader = loader

    def state_dict(self) -> dict[str, Any]:
        self.loader.sync()
        state = self.loader.state_dict()
        check_one_state(state, self.loader.pruner.world_size)
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if "delivery" not in state:
            raise StateError(
                f"The state must be a pruned loader's; got the keys {sorted(map(str, state))}. Register objects for "
                "checkpointing in the order in which they were registered when the state was saved."
            )
        self.loader.load_state_dict(state)


def _register(accelerator: Accelerator, loader: _InAccelerator) -> None:
    for known in accelerator._custom_objects:  # what was registered before cannot be asked for otherwise
        if isinstance(known, _Checkpoint) and (
            known.loader.dataset is loader.dataset or known.loader.pruner is loader.pruner
        ):
            known.loader = loader
            return
    accelerator.register_for_checkpointing(_Checkpoint(loader))


def _check_accelerator(accelerator: Accelerator) -> None:
    if getattr(accelerator, "parallelism_config", None) is not None:
        raise ConfigError(
            "`parallelism_config` must be None: processes that share a model must get the same batch, and the plan is "
            f"divided among all of them; got {accelerator.parallelism_config}. See docs/guides/ranks.md for "
            "groups of your own."
        )
    for name in ("split_batches", "dispatch_batches"):
        if getattr(accelerator, name):
            raise ConfigError(
                f"`{name}` must be False: each process fetches its own batches of the plan; got "
                f"{getattr(accelerator, name)}. Leave it out, and give the DataLoader the batch size of one process."
            )
    data_seed = getattr(accelerator.dataloader_config, "data_seed", None)
    if data_seed is not None:
        raise ConfigError(
            f"`data_seed` must be None: the order is the plan's; got {data_seed}. Give the pruner a `seed`.",
            parameter="data_seed",
            value=data_seed,
        )
    if not accelerator.gradient_state.sync_with_dataloader:
        raise ConfigError(
            "`sync_with_dataloader` must be True, or the run makes fewer steps than planned, since short accumulation "
            "windows are carried over to the next epoch; got False. Leave it out."
        )
