"""ArrayLoader: vectorised batches of arrays in memory or on a device, with no Python per sample."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from emprune.checks import flag, whole_number
from emprune.data.cursor import Cursor
from emprune.data.indexed import Delivered
from emprune.data.own_pruner import as_pruner
from emprune.data.planned import PlannedLoader
from emprune.data.shard import batch_slices
from emprune.distributed import ProcessGroup
from emprune.engine.plan_options import GroupsLike, PinnedLike, WeightsLike
from emprune.engine.recording import RecordLike
from emprune.errors import ConfigError
from emprune.methods.base import Method
from emprune.pruner import DataPruner, NonfinitePolicy
from emprune.randomness import derive_seed

__all__ = ["ArrayLoader", "BatchTransform"]

_SIGNED = {torch.uint16: torch.int16, torch.uint32: torch.int32, torch.uint64: torch.int64}

BatchTransform = Callable[..., Sequence[Tensor]]
"""``transform(generator, *arrays) -> arrays``, each (B, ...)."""


class ArrayLoader(PlannedLoader):
    """Delivers the plan from tensors, indexing a batch at a time on the device they are on.

    Batches come as ``(index, arrays)``; the index stays on the CPU.

    Args:
        arrays: Tensors of shape (N, ...), all on one device.
        method: How samples are chosen: `EMP()`, its name, or a `DataPruner` that was made before.
        batch_size: Samples per batch and rank.
        transform: ``transform(generator, *arrays) -> arrays`` on a batch, such as an augmentation. The generator is on
            the arrays' device. Its seed comes from the run's seed, the epoch and the batch's first sample. So a resumed
            run draws the same as the uninterrupted one.
        drop_last: No batch is ever short: full epochs, too, are multiples of the quantum.
        num_epochs: Epochs in the run; or give `num_steps`.
        num_steps: Optimizer steps in the run, exactly; about `num_steps` · quantum / (`keep` · N) epochs.
        keep: Mean fraction of the dataset visited per epoch, in (0, 1].
        warmup_epochs: Full-data epochs at the start, paid for by the pruned ones.
        tail_epochs: Full-data epochs at the end, paid for by the pruned ones; None for the method's default.
        seed: Seed of all draws.
        accumulation: Batches per optimizer step.
        nonfinite: What happens to samples with a NaN or infinite loss: see `DataPruner`.
        groups: (N,) labels, or `Groups`: how many of each group an epoch visits. See `PrunedLoader`.
        weights: (N,) numbers above 0, by which an epoch's candidates are drawn. See `PrunedLoader`.
        pinned: Positions of samples that every epoch visits, or (N,) True and False.
        guard: A sample that was predicted wrong in each of its last so many visits is set aside. See `DataPruner`.
        record: Columns to remember beside the method's, such as "all"; they find wrong labels. See `DataPruner`.
        process_group: The ranks that share the data; None for the default group, or one process.

    Raises:
        ConfigError: If the arrays are not tensors of one length on one device, or the budget cannot be met.

    Example:
        >>> loader = ArrayLoader(
        ...     (torch.arange(8), torch.ones(8)), "random", batch_size=2, num_epochs=2, keep=0.5
        ... )
        >>> all(x.equal(index) for _ in loader.epochs() for index, (x, y) in loader)
        True
    """

    _fixed = PlannedLoader._fixed | {"arrays"}

    def __init__(
        self,
        arrays: Sequence[Tensor],
        method: Method | str | DataPruner,
        *,
        batch_size: int,
        transform: BatchTransform | None = None,
        drop_last: bool = False,
        num_epochs: int | None = None,
        num_steps: int | None = None,
        keep: float | None = None,
        warmup_epochs: int = 0,
        tail_epochs: int | None = None,
        seed: int = 0,
        accumulation: int = 1,
        nonfinite: NonfinitePolicy = "error",
        groups: GroupsLike | None = None,
        weights: WeightsLike | None = None,
        pinned: PinnedLike | None = None,
        guard: int | None = None,
        record: RecordLike | None = None,
        process_group: "ProcessGroup | None" = None,
    ) -> None:
        _check_arrays(arrays, transform)
        batch_size = whole_number("batch_size", batch_size, least=1)
        accumulation = whole_number("accumulation", accumulation, least=1)
        drop_last = flag("drop_last", drop_last, meaning="whether no batch is ever short")
        pruner = as_pruner(
            method,
            num_samples=len(arrays[0]),
            samples_per_batch=batch_size,
            accumulation=accumulation,
            drop_last=drop_last,
            num_epochs=num_epochs,
            num_steps=num_steps,
            keep=keep,
            warmup_epochs=warmup_epochs,
            tail_epochs=tail_epochs,
            seed=seed,
            nonfinite=nonfinite,
            groups=groups,
            weights=weights,
            pinned=pinned,
            guard=guard,
            record=record,
            process_group=process_group,
        )
        super().__init__(pruner, batch_size=batch_size, accumulation=accumulation, drop_last=drop_last)
        self.arrays = tuple(arrays)
        self._transform = transform

    def _dataset_length(self) -> int:
        return len(self.arrays[0])

    def _deliver(self, cursor: Cursor) -> Iterator[Delivered]:
        # On the device at once: a copy for each batch would wait for it.
        rest, on_device = cursor.rest, cursor.rest.to(self.arrays[0].device, non_blocking=True)
        parts = list(batch_slices(len(rest), self.batch_size, cursor.last))
        # No generator: that would be over once a transform has raised, and a pass can go on.
        return map(self._rows_at, map(rest.__getitem__, parts), map(on_device.__getitem__, parts))

    def _fetch(self, index: Tensor) -> Delivered:
        return self._rows_at(index, index.to(self.arrays[0].device))

    def _rows_at(self, index: Tensor, on_device: Tensor) -> Delivered:
        arrays = tuple(_rows(array, on_device) for array in self.arrays)
        index = index.clone()  # the plan's own memory, and a loop may write to what it is given
        return Delivered(index, index, self._transformed(arrays, int(index[0])))

    def _transformed(self, arrays: tuple[Tensor, ...], first: int) -> tuple[Tensor, ...]:
        if self._transform is None:
            return arrays
        seed = derive_seed(self.pruner.seed, "transform", self.pruner.epoch, first)
        generator = torch.Generator(arrays[0].device).manual_seed(seed)
        transformed = self._transform(generator, *arrays)
        if not isinstance(transformed, (tuple, list)):
            raise ConfigError(
                f"`transform` must return a tuple of arrays, also where it is one; got {type(transformed).__name__}."
            )
        return tuple(transformed)


def _check_arrays(arrays: Sequence[Tensor], transform: BatchTransform | None) -> None:
    """Raise ConfigError unless there are arrays of one length on one device, and a transform can be called."""
    if not isinstance(arrays, (tuple, list)) or not arrays or not all(map(_is_array, arrays)):
        raise ConfigError(
            f"`arrays` must be a non-empty tuple of tensors, (N, ...) each; got {type(arrays).__name__}. Use "
            "torch.from_numpy for NumPy's."
        )
    if len({len(a) for a in arrays}) > 1 or len({a.device for a in arrays}) > 1:
        found = ", ".join(f"{len(a)} on {a.device}" for a in arrays)
        raise ConfigError(f"`arrays` must have one length and one device; got {found}.")
    if transform is not None and not callable(transform):
        raise ConfigError(
            f"`transform` must be a function of a generator and the arrays; got {transform!r}. Or leave it out."
        )


def _rows(array: Tensor, index: Tensor) -> Tensor:
    """Return an array's rows. Torch cannot select wide unsigned integers, so their bits are read as signed ones."""
    if array.dtype in _SIGNED:
        return array.view(_SIGNED[array.dtype]).index_select(0, index).view(array.dtype)
    return array.index_select(0, index)


def _is_array(value: object) -> bool:
    return isinstance(value, Tensor) and value.ndim > 0
