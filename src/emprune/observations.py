"""Observations of the running epoch: checked at once, collected where they are, handed over once per epoch."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from emprune.errors import EpochError, ObservationError

__all__ = ["PendingObservations", "check_observation", "check_plain", "check_planned", "last_of_each"]

_SETTLED_ROWS, _SETTLED_ELEMENTS = 1 << 14, 1 << 16
"""So many observations, or elements of outputs still to be measured, are settled at a time."""


def check_observation(index: Tensor, losses: Tensor, planned: Tensor | None, name: str = "losses") -> None:
    """Raise unless `index` and `losses` describe one batch of a planned epoch.

    Args:
        index: Should be (B,) int64.
        losses: Should be (B,) float.
        planned: (N,) bool, the samples of this epoch; None before the first epoch.
        name: What to call the losses in a message.

    Raises:
        EpochError: If no epoch has begun.
        ObservationError: If a shape, length or dtype is wrong, or the losses are a DTensor.
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


def check_planned(index: Tensor, planned: Tensor) -> None:
    """Raise ObservationError unless every CPU index is in [0, N) and in the plan."""
    positions, mask = index.numpy(), planned.numpy()  # for a batch NumPy is several times quicker than torch
    if not positions.size:
        return
    lowest, highest = positions.min(), positions.max()
    if lowest < 0 or highest >= mask.size:
        found = lowest if lowest < 0 else highest
        raise ObservationError(f"`index` must be in [0, {mask.size}), a position in the dataset: got {found}.")
    inside = mask.take(positions)
    if not inside.all():
        stray = positions[~inside]
        raise ObservationError(
            f"`index` must be in this epoch's plan: got {stray[0]} and {len(stray) - 1} more that are not. "
            "Observe only batches of the loader; evaluation is never observed."
        )


def check_plain(values: object, name: str) -> None:
    """Raise ObservationError for a DTensor, known by its method: the class alone takes long to import."""
    if hasattr(values, "full_tensor"):
        raise ObservationError(
            f"`{name}` must be a plain tensor, of which this rank has all: got a {type(values).__name__}, as tensor "
            f"parallelism makes it. Pass {name}.full_tensor()."
        )


def _check_losses(losses: Tensor, name: str) -> None:
    check_plain(losses, name)
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
    """The batches observed since the last fold, on the device they came from.

    As long as they come in the plan's order their index is the plan's, and not kept. Every now and then the latest
    measurements, or outputs still to be measured, are settled together: each batch on its own would cost several times
    that.

    Args:
        measure: The method's.
    """

    def __init__(self, measure: Callable[[Tensor, Any], Mapping[str, Tensor]]) -> None:
        self._measure = measure
        self._order = torch.empty(0, dtype=torch.int64)
        self._planned = torch.empty(0, dtype=torch.bool)
        self._length = self._settled = self._num_in_turn = 0
        self._out_of_turn: list[Tensor] = []
        self._latest: dict[str, list[Tensor]] = {}
        self._outputs: list[Tensor] = []
        self._num_elements = 0
        self._buffers: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return self._length

    def expect(self, order: Tensor, planned: Tensor) -> None:
        """Tell which samples may be observed, (N,) bool, and in which order they probably are, (K,) int64."""
        self._order, self._planned = order, planned

    def is_in_turn(self, index: Tensor) -> bool:
        """Return whether a batch is the plan's next; if not, check that it is planned at all.

        Reading (N,) memory at random costs most of that check. An index on a device is left to the next fold.

        Raises:
            ObservationError: If a CPU index is out of range or not planned.
        """
        if not index.is_cpu:
            return False
        size = index.shape[0]
        can_be = self._length == self._num_in_turn and self._length + size <= len(self._order)
        if can_be and self._order[self._length : self._length + size].equal(index):
            return True
        check_planned(index, self._planned)
        return False

    def measure(self, losses: Tensor, outputs: Any) -> Mapping[str, Tensor]:
        """Return (B,) of each of the method's quantities, measured at once.

        Raises:
            ObservationError: If one is of another shape than the losses, (B,), or is not a plain tensor.
        """
        with torch.no_grad():
            measured = self._measure(losses, outputs)
        for name, values in measured.items():
            check_plain(values, "outputs")
            if not isinstance(values, Tensor):
                raise ObservationError(f"The measured {name!r} must be a (B,) tensor: got {values!r}.")
            if values.shape != losses.shape:
                raise ObservationError(
                    f"The measured {name!r} must be (B,) = {tuple(losses.shape)}: got {tuple(values.shape)}. "
                    "Are `outputs` those of this batch?"
                )
        return measured

    def append(
        self,
        index: Tensor,
        measured: Mapping[str, Tensor],
        *,
        deferred: Tensor | None = None,
        in_turn: bool = False,
    ) -> None:
        """Keep a copy of one batch: no synchronisation, no device-to-host copy.

        Args:
            index: (B,) int64.
            measured: (B,) of each quantity, at least "loss".
            deferred: (B, ...) outputs that the other quantities are still to be measured from.
            in_turn: Whether the batch is the plan's next, as `is_in_turn` says.
        """
        if not _alike(self._outputs, deferred):
            self._settle()
        known = self._latest or (self._buffers if deferred is None else {})
        if known and measured.keys() != known.keys():
            raise ObservationError(
                f"Every batch must be measured in the same quantities: got {sorted(measured)} after others. "
                "The method's `measure` returns them."
            )
        for name, values in measured.items():
            self._latest.setdefault(name, []).append(values.detach().clone())
        if deferred is not None:
            self._outputs.append(deferred.detach().clone())
            self._num_elements += deferred.numel()
        self._length += index.shape[0]
        if in_turn:
            self._num_in_turn = self._length
        else:
            self._out_of_turn.append(index.clone())
        if self._length - self._settled >= _SETTLED_ROWS or self._num_elements >= _SETTLED_ELEMENTS:
            self._settle()

    def _settle(self) -> None:
        """Measure what is still to be measured, and copy the latest measurements behind those before."""
        if self._settled == self._length:
            return
        latest = {name: _joined(batches) for name, batches in self._latest.items()}
        if self._outputs:
            with torch.no_grad():
                latest.update(self._measure(latest["loss"], torch.cat(self._outputs)))
        for name, values in latest.items():
            buffer = self._buffers.get(name)
            if buffer is None or buffer.shape[0] < self._length or (buffer.is_cpu and not values.is_cpu):
                device = values.device if buffer is None or buffer.is_cpu else buffer.device
                buffer = self._buffers[name] = self._roomier(buffer, device)
            buffer[self._settled : self._length].copy_(values)
        self._settled, self._latest, self._outputs, self._num_elements = self._length, {}, [], 0

    def _roomier(self, buffer: Tensor | None, device: torch.device) -> Tensor:
        """A larger copy of a buffer."""
        size = max(self._length, len(self._order), 0 if buffer is None else 2 * self._settled)
        with torch.inference_mode(False):
            larger = torch.empty(size, dtype=torch.float32, device=device)
        if buffer is not None:
            larger[: self._settled].copy_(buffer[: self._settled])
        return larger

    def clear(self) -> None:
        """Forget them."""
        self._length = self._settled = self._num_in_turn = self._num_elements = 0
        self._out_of_turn, self._latest, self._outputs, self._buffers = [], {}, [], {}

    def gather(self) -> tuple[Tensor, dict[str, Tensor]]:
        """Return (M,) int64 indices and (M,) float32 of each quantity, on the CPU, in the order observed.

        They are views where they can be: valid until more is appended, not to be written to.
        """
        self._settle()
        index = self._order[: self._num_in_turn]
        if self._out_of_turn:
            index = torch.cat([index, *(part.cpu() for part in self._out_of_turn)])
        return index, {name: buffer[: self._length].cpu() for name, buffer in self._buffers.items()}

    def load(self, index: Tensor, measured: Mapping[str, Tensor]) -> None:
        """Take over what `gather` returned."""
        self.clear()
        if len(index):
            self.append(index, measured, in_turn=self.is_in_turn(index))


def _joined(batches: list[Tensor]) -> Tensor:
    device = next((batch.device for batch in batches if not batch.is_cpu), batches[0].device)
    return torch.cat([batch.to(device) for batch in batches])


def _alike(outputs: list[Tensor], more: Tensor | None) -> bool:
    """Whether a batch's outputs can be measured together with those before, if there are any."""
    if not outputs:
        return more is None
    last = outputs[-1]
    return more is not None and (more.shape[1:], more.dtype, more.device) == (last.shape[1:], last.dtype, last.device)


def last_of_each(index: Tensor, num_samples: int) -> Tensor | None:
    """Return (M',) positions in `index` of each sample's last occurrence, or None where no sample occurs twice."""
    distinct = torch.zeros(num_samples, dtype=torch.bool).index_fill_(0, index, True).count_nonzero()
    if int(distinct) == len(index):
        return None
    position = torch.arange(len(index))
    last = torch.full((num_samples,), -1).scatter_reduce_(0, index, position, "amax")
    return (last[index] == position).nonzero().squeeze(1)
