"""Observations of the running epoch: checked at once, collected where they are, handed over once per epoch."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from emprune.errors import EpochError, ObservationError

__all__ = ["PendingObservations", "check_observation"]


def check_observation(index: Tensor, losses: Tensor, planned: Tensor | None, name: str = "losses") -> None:
    """Raise unless `index` and `losses` describe one batch of the planned epoch.

    Args:
        index: Should be (B,) int64; a CPU index is checked against the plan, one on a device at the next fold.
        losses: Should be (B,) float.
        planned: (N,) bool, the samples of this epoch; None before the first epoch.
        name: What to call the losses in a message.

    Raises:
        EpochError: If no epoch has begun.
        ObservationError: If a shape, length or dtype is wrong, or an index is not in this epoch's plan.
    """
    if planned is None:
        raise EpochError("No epoch has begun: call loader.set_epoch(epoch), or pruner.begin_epoch(epoch), first.")
    _check_losses(losses, name)
    if not isinstance(index, Tensor) or index.dtype != torch.int64 or index.ndim != 1:
        found = f"{tuple(index.shape)} {index.dtype}" if isinstance(index, Tensor) else type(index).__name__
        raise ObservationError(
            f"`index` must be a (B,) int64 tensor of positions in the dataset: got {found}. "
            "Pass the index the loader delivers with each batch."
        )
    if index.shape != losses.shape:
        raise ObservationError(
            f"`index` and `{name}` must be equally long: got {len(index)} indices and {len(losses)} losses. "
            "Does the collate_fn drop samples, or is the index that of another batch?"
        )
    if index.is_cpu:
        check_planned(index, planned)


def check_planned(index: Tensor, planned: Tensor) -> None:
    """Raise ObservationError unless every CPU index is in [0, N) and in the plan."""
    positions, mask = index.numpy(), planned.numpy()  # for a batch NumPy is several times quicker than torch
    if not positions.size:
        return
    if positions.view(np.uint64).max() >= mask.size:  # a negative position is a huge one there
        found = positions.min() if positions.min() < 0 else positions.max()
        raise ObservationError(f"`index` must be in [0, {mask.size}), a position in the dataset: got {found}.")
    inside = mask.take(positions)
    if not inside.all():
        stray = positions[~inside]
        raise ObservationError(
            f"`index` must be in this epoch's plan: got {stray[0]} and {len(stray) - 1} more that are not. "
            "Observe only batches of the loader; evaluation is never observed."
        )


def _check_losses(losses: Tensor, name: str) -> None:
    if not isinstance(losses, Tensor) or not losses.is_floating_point():
        found = str(losses.dtype) if isinstance(losses, Tensor) else type(losses).__name__
        raise ObservationError(f"`{name}` must be a float tensor of shape (B,): got {found}.")
    if losses.ndim == 0:
        raise ObservationError(
            f"`{name}` must have one loss per sample, shape (B,): got a scalar. Did you forget reduction='none'?"
        )
    if losses.ndim != 1:
        raise ObservationError(
            f"`{name}` must have one loss per sample, shape (B,): got {tuple(losses.shape)}. "
            "Average over the other dimensions first."
        )


class PendingObservations:
    """The batches observed since the last fold, copied one behind the other on the device they came from."""

    def __init__(self) -> None:
        self._expected = 0
        self._length = 0
        self._buffers: dict[str | None, Tensor] = {}

    def __len__(self) -> int:
        return self._length

    def expect(self, num_samples: int) -> None:
        """Make room for so many at once, where there is none: an epoch's worth is then copied once."""
        self._expected = num_samples

    def append(self, index: Tensor, measured: Mapping[str, Tensor]) -> None:
        """Copy one batch, under no_grad: no synchronisation, no device-to-host copy."""
        batch: dict[str | None, Tensor] = {None: index}
        batch.update(measured)
        if self._length and batch.keys() != self._buffers.keys():
            raise ObservationError(
                f"Every batch must be measured in the same quantities: got {sorted(measured)} after others. "
                "The method's `measure` returns them."
            )
        start, end = self._length, self._length + index.shape[0]
        for name, values in batch.items():
            buffer = self._buffers.get(name)
            if buffer is None or buffer.shape[0] < end or buffer.is_cpu > values.is_cpu:
                dtype = torch.int64 if name is None else torch.float32
                buffer = self._buffers[name] = self._roomier(buffer, values, end, dtype)
            buffer.narrow(0, start, end - start).copy_(values)
        self._length = end

    def _roomier(self, buffer: Tensor | None, values: Tensor, needed: int, dtype: torch.dtype) -> Tensor:
        """A larger copy of a buffer, on the device of `values` unless it is on a device already."""
        device = values.device if buffer is None or buffer.is_cpu else buffer.device
        size = max(needed, self._expected, 0 if buffer is None else 2 * self._length)
        with torch.inference_mode(False):
            larger = torch.empty(size, dtype=dtype, device=device)
        if buffer is not None:
            larger[: self._length].copy_(buffer[: self._length])
        return larger

    def clear(self) -> None:
        """Forget them."""
        self._length, self._buffers = 0, {}

    def gather(self) -> tuple[Tensor, dict[str, Tensor]]:
        """Return (M,) int64 indices and (M,) float32 of each quantity, on the CPU, in the order observed.

        They are views where they can be: valid until more is appended, not to be written to.
        """
        if not self._length:
            return torch.empty(0, dtype=torch.int64), {}
        index = self._buffers[None][: self._length].cpu()
        return index, {k: v[: self._length].cpu() for k, v in self._buffers.items() if k is not None}

    def load(self, index: Tensor, measured: Mapping[str, Tensor]) -> None:
        """Take over what `gather` returned."""
        self.clear()
        if len(index):
            self.append(index, measured)


def last_of_each(index: Tensor, num_samples: int) -> Tensor | None:
    """Return (M',) positions in `index` of each sample's last occurrence, or None where no sample occurs twice."""
    distinct = torch.zeros(num_samples, dtype=torch.bool).index_fill_(0, index, True).count_nonzero()
    if int(distinct) == len(index):
        return None
    position = torch.arange(len(index))
    last = torch.full((num_samples,), -1).scatter_reduce_(0, index, position, "amax")
    return (last[index] == position).nonzero().squeeze(1)
