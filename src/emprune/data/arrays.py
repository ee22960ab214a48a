"""ArrayLoader: vectorised batches of arrays in memory or on a device, with no Python per sample."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from emprune.data.place import Place
from emprune.data.planned import PlannedLoader
from emprune.data.share import batch_slices
from emprune.errors import ConfigError
from emprune.pruner import DataPruner
from emprune.randomness import derive_seed

__all__ = ["ArrayLoader", "BatchTransform"]

_SIGNED = {torch.uint16: torch.int16, torch.uint32: torch.int32, torch.uint64: torch.int64}

BatchTransform = Callable[..., Sequence[Tensor]]
"""``transform(generator, *arrays) -> arrays``, each (B, ...)."""


class ArrayLoader(PlannedLoader):
    """Delivers the pruner's plan from tensors, indexing a batch at a time on the device they are on.

    Batches come as ``(index, arrays)``; the index stays on the CPU.

    Args:
        arrays: Tensors of shape (N, ...), all on one device.
        pruner: The pruner.
        batch_size: Samples per batch and rank.
        transform: ``transform(generator, *arrays) -> arrays`` on a batch, such as an augmentation. The generator is on
            the arrays' device and seeded by the seed, the epoch and the batch's first sample, so a resumed run draws
            what the whole run would have.
        accumulation: Batches per optimizer step.
        drop_last: No batch is ever short: full epochs, too, are multiples of the quantum.

    Raises:
        ConfigError: If the arrays are not tensors of one length on one device, or not the pruner's.

    Example:
        >>> import emprune
        >>> pruner = emprune.DataPruner(emprune.Random(), num_samples=8, num_epochs=2, keep=0.5)
        >>> loader = ArrayLoader((torch.arange(8), torch.ones(8)), pruner, batch_size=2)
        >>> loader.set_epoch(0)
        >>> all(x.equal(index) for index, (x, y) in loader)
        True
    """

    def __init__(
        self,
        arrays: Sequence[Tensor],
        pruner: DataPruner,
        *,
        batch_size: int,
        transform: BatchTransform | None = None,
        accumulation: int = 1,
        drop_last: bool = False,
    ) -> None:
        if not isinstance(arrays, (tuple, list)) or not arrays or not all(map(_is_array, arrays)):
            raise ConfigError(
                "`arrays` must be a non-empty tuple of tensors, (N, ...) each; use torch.from_numpy for NumPy's."
            )
        if len({len(a) for a in arrays}) > 1 or len({a.device for a in arrays}) > 1:
            found = ", ".join(f"{len(a)} on {a.device}" for a in arrays)
            raise ConfigError(f"`arrays` must have one length and one device: got {found}.")
        super().__init__(
            pruner, num_samples=len(arrays[0]), batch_size=batch_size, accumulation=accumulation, drop_last=drop_last
        )
        self.arrays = tuple(arrays)
        self._transform = transform

    def _dataset_length(self) -> int:
        return len(self.arrays[0])

    def _deliver(self, place: Place) -> Iterator[tuple[Tensor, tuple[Tensor, ...]]]:
        index, device = place.rest, self.arrays[0].device
        on_device = index.to(device)
        generator = torch.Generator(device)

        def batch(part: slice) -> tuple[Tensor, tuple[Tensor, ...]]:
            arrays = tuple(_rows(array, on_device[part]) for array in self.arrays)
            # A copy: the rest is the plan's own memory, and a loop may write to what it is given.
            return index[part].clone(), self._transformed(arrays, generator, int(index[part.start]))

        return map(batch, batch_slices(len(index), self.batch_size, place.last))

    def _transformed(self, arrays: tuple[Tensor, ...], generator: torch.Generator, first: int) -> tuple[Tensor, ...]:
        if self._transform is None:
            return arrays
        seed = derive_seed(self.pruner.seed, "transform", self.pruner.epoch, first)
        transformed = self._transform(generator.manual_seed(seed), *arrays)
        if not isinstance(transformed, (tuple, list)):
            raise ConfigError(
                f"`transform` must return a tuple of arrays, also where it is one: got {type(transformed).__name__}."
            )
        return tuple(transformed)


def _rows(array: Tensor, index: Tensor) -> Tensor:
    """Return an array's rows; torch selects none of wide unsigned integers, whose bits are read as signed ones."""
    if array.dtype in _SIGNED:
        return array.view(_SIGNED[array.dtype]).index_select(0, index).view(array.dtype)
    return array.index_select(0, index)


def _is_array(value: object) -> bool:
    return isinstance(value, Tensor) and value.ndim > 0
