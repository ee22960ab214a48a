"""Observations of the running epoch: checked at once, collected where they are, folded once per epoch.

Hard, because `observe` runs in every step: it must not synchronise with a device, and must cost microseconds.
So a batch is only checked and copied. Work that is cheaper for many batches at once waits for a block::

    observe(index, losses, outputs)
       │  checked: shapes, dtypes, and that the index is planned
       ▼
    recent   [index | loss | outputs]  [index | loss | outputs]  ...       one entry a batch
       │  every 16,384 samples: outputs are measured, and all of it is copied
       ▼
    buffers  index [..............]   loss [..............]   memory [..............]
       │  gather(): once per epoch, to the CPU
       ▼
    merging, then the columns

Everything stays on the device it came from until `gather`. A batch in the plan's order costs a comparison with the
plan. Any other costs a look-up of each index, which is several times slower.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from emprune.errors import EpochError, ObservationError

__all__ = ["PendingObservations", "check_observation", "check_plain", "check_planned"]

_BLOCK_ROWS, _BLOCK_ELEMENTS = 1 << 14, 1 << 16
"""So many samples, or elements of outputs, make a block."""
_OUTPUTS = "outputs, to be measured"


def check_observation(index: Tensor, losses: Tensor, planned: Tensor | None, name: str = "losses") -> None:
    """Raise unless `index` and `losses` describe one batch of a planned epoch.

    Args:
        index: Should be (B,) int64.
        losses: Should be (B,) float.
        planned: (N,) bool, the samples of this epoch; None before the first epoch.
        name: What to call the losses in a message.

    Raises:
        EpochError: If no epoch has begun.
        ObservationError: If a shape, length, dtype or layout is wrong.
    """
    if planned is None:
        raise EpochError("No epoch has begun: call loader.set_epoch(epoch), or pruner.begin_epoch(epoch), first.")
    _check_index(index)  # first: where it was forgotten, the losses are in its place
    _check_losses(losses, name)
    _check_not_captured(losses, name)
    if index.shape != losses.shape:
        raise ObservationError(
            f"`index` and `{name}` must be equally long; got {len(index)} indices and {len(losses)} losses. Is the "
            "index that of another batch? A collate function that drops samples must return emprune.data.KeptSamples."
        )
    if index.shape[0] == 0:
        raise ObservationError("`index` must hold at least one sample; got an empty batch. Skip empty batches.")


def check_planned(index: Tensor, planned: Tensor) -> None:
    """Raise ObservationError unless every CPU index is in [0, N) and in the plan."""
    positions, mask = index.numpy(), planned.numpy()  # for a batch NumPy is several times quicker than torch
    if not positions.size:
        return
    lowest, highest = positions.min(), positions.max()
    if lowest < 0 or highest >= mask.size:
        found = lowest if lowest < 0 else highest
        raise ObservationError(
            f"`index` must be in [0, {mask.size}), a position in the dataset; got {found}. Pass the index the loader "
            "delivers with each batch."
        )
    inside = mask.take(positions)
    if not inside.all():
        stray = positions[~inside]
        raise ObservationError(
            f"`index` must be in this epoch's plan; got {stray[0]} and {len(stray) - 1} more that are not. "
            "Observe only batches of the loader; evaluation is never observed."
        )


def check_plain(values: object, name: str) -> None:
    """Raise ObservationError for a tensor that does not hold all of its numbers, one after another."""
    if type(values) is not Tensor and hasattr(values, "full_tensor"):  # DTensor, whose class takes long to import
        raise ObservationError(
            f"`{name}` must be a plain tensor, complete on this rank; got a {type(values).__name__}, as from tensor "
            f"parallelism. Pass {name}.full_tensor()."
        )
    if isinstance(values, Tensor) and (values.layout is not torch.strided or values.is_meta):
        kind = "a meta tensor, without numbers" if values.is_meta else f"a sparse tensor, {values.layout}"
        raise ObservationError(f"`{name}` must be a dense tensor; got {kind}. Pass {name}.to_dense() of real data.")


def _check_not_captured(losses: Tensor, name: str) -> None:
    """Raise ObservationError where a CUDA graph is being recorded: a replay runs kernels, and none of this code."""
    if losses.is_cuda and not torch.compiler.is_compiling() and torch.cuda.is_current_stream_capturing():
        raise ObservationError(
            f"`{name}` must not be observed while a CUDA graph is captured: a replay would observe nothing. Capture "
            "the model and its losses alone, and call observe(index, losses, logits) after each replay."
        )


def _check_index(index: Tensor) -> None:
    if not isinstance(index, Tensor) or index.dtype != torch.int64 or index.ndim != 1:
        found = f"{tuple(index.shape)} {index.dtype}" if isinstance(index, Tensor) else type(index).__name__
        raise ObservationError(
            f"`index` must be a (B,) int64 tensor of positions in the dataset; got {found}. "
            "Pass the index the loader delivers with each batch; it comes before the losses."
        )
    check_plain(index, "index")


def _check_losses(losses: Tensor, name: str) -> None:
    if not isinstance(losses, Tensor) or not losses.is_floating_point():
        found = str(losses.dtype) if isinstance(losses, Tensor) else type(losses).__name__
        raise ObservationError(
            f"`{name}` must be a float tensor of shape (B,); got {found}. Pass the losses of the samples, as "
            "F.cross_entropy(logits, labels, reduction='none') gives them."
        )
    check_plain(losses, name)
    if losses.ndim == 0:
        raise ObservationError(
            f"`{name}` must have one loss per sample, shape (B,); got a scalar. Did you forget reduction='none'?"
        )
    if losses.ndim != 1:
        raise ObservationError(
            f"`{name}` must have one loss per sample, shape (B,); got {tuple(losses.shape)}. "
            f"Average over the other dimensions, {name}.flatten(1).mean(1), or use emprune.losses.dense_cross_entropy."
        )


class PendingObservations:
    """The batches observed since the last fold, on the device they came from.

    Args:
        measure: The method's; None for a method that measures nothing but the loss.
    """

    def __init__(self, measure: Callable[[Tensor, Any], Mapping[str, Tensor]] | None) -> None:
        self._measure = measure
        self._order = torch.empty(0, dtype=torch.int64)
        self._planned = torch.empty(0, dtype=torch.bool)
        self._turn = 0  # batches so far, in samples: where the plan's next batch begins
        self.clear()

    def __len__(self) -> int:
        return self._length

    @property
    def num_observed(self) -> int:
        """Samples observed since `expect`, folded ones included."""
        return self._turn

    def expect(self, order: Tensor, planned: Tensor) -> None:
        """Tell which samples may be observed, (N,) bool, and in which order they probably are, (K,) int64."""
        self._order, self._planned, self._turn = order, planned, 0
        self.clear()

    def clear(self) -> None:
        """Forget the batches."""
        self._length = self._num_in_blocks = self._num_elements = 0
        self._recent: list[dict[str, Tensor]] = []
        self._buffers: dict[str, Tensor] = {}
        self._kind: tuple[torch.Size, torch.dtype, torch.device] | None = None

    def checked(self, index: Tensor) -> Tensor:
        """Return a copy of a batch's index that is in the plan; one on a device is checked at the next fold.

        Raises:
            ObservationError: If a CPU index is out of range or not planned.
        """
        if index.is_cpu:
            in_turn = self._order[self._turn : self._turn + index.shape[0]]
            if in_turn.equal(index):
                return in_turn
            check_planned(index, self._planned)
        return index.clone()

    def measure(self, losses: Tensor, outputs: Any) -> Mapping[str, Tensor]:
        """Return (B,) of each of the method's quantities.

        Raises:
            ObservationError: If one is of another shape than the losses, (B,), or is not a plain tensor.
        """
        if self._measure is None:
            return {}
        with torch.no_grad():
            measured = self._measure(losses, outputs)
        for name, values in measured.items():
            if not isinstance(values, Tensor):
                raise ObservationError(f"The measured {name!r} must be a (B,) tensor; got {values!r}.")
            check_plain(values, "outputs")
            if values.shape != losses.shape:
                raise ObservationError(
                    f"The measured {name!r} must be (B,) = {tuple(losses.shape)}; got {tuple(values.shape)}. "
                    "Are `outputs` those of this batch?"
                )
        return measured

    def append(self, index: Tensor, measured: Mapping[str, Tensor], *, deferred: Tensor | None = None) -> None:
        """Keep a copy of one batch: no synchronisation, no device-to-host copy.

        Args:
            index: (B,) int64, from `checked`.
            measured: (B,) of each quantity, at least "loss".
            deferred: (B, ...) outputs that the other quantities are measured from, with the block.

        Raises:
            ObservationError: If other quantities were measured before; nothing is kept then.
        """
        batch = {name: values.detach().clone() for name, values in measured.items()}
        batch["index"] = index
        kind = None if deferred is None else (deferred.shape[1:], deferred.dtype, deferred.device)
        if kind != self._kind:  # of outputs that cannot be measured together with those before
            self._settle()
            self._kind = kind
        if deferred is None:
            self._check_quantities(batch, self._recent[-1] if self._recent else self._buffers)
        else:
            batch[_OUTPUTS] = deferred.detach().clone()
            self._num_elements += deferred.numel()
        self._recent.append(batch)
        size = index.shape[0]
        self._length += size
        self._turn += size
        if self._length - self._num_in_blocks >= _BLOCK_ROWS or self._num_elements >= _BLOCK_ELEMENTS:
            self._settle()

    def wait(self) -> None:
        """Let a GPU finish its work, which `gather` needs: a clock read next does not count that work."""
        for values in (*(self._recent[-1] if self._recent else {}).values(), *self._buffers.values()):
            if values.is_cuda:
                torch.cuda.current_stream(values.device).synchronize()
                return

    def gather(self) -> tuple[Tensor, dict[str, Tensor]]:
        """Return (M,) int64 indices and (M,) float32 of each quantity, on the CPU, in the order observed.

        They are views where they can be: valid until more is appended, not to be written to.
        """
        self._settle()
        gathered = {name: buffer[: self._length].cpu() for name, buffer in self._buffers.items()}
        return gathered.pop("index", self._order[:0]), gathered

    def _settle(self) -> None:
        """Make a block of the recent batches, and copy it behind those before."""
        if not self._recent:
            return
        block = {name: _joined([batch[name] for batch in self._recent]) for name in self._recent[0]}
        if _OUTPUTS in block:
            block.update(self.measure(block["loss"], block.pop(_OUTPUTS)))
        self._check_quantities(block, self._buffers)
        for name, values in block.items():
            buffer = self._buffers.get(name)
            if buffer is None or buffer.shape[0] < self._length or (buffer.is_cpu and not values.is_cpu):
                buffer = self._buffers[name] = self._roomier(
                    buffer, values, torch.int64 if name == "index" else torch.float32
                )
            buffer[self._num_in_blocks : self._length].copy_(values, non_blocking=True)
        self._num_in_blocks, self._recent, self._num_elements = self._length, [], 0

    def _roomier(self, buffer: Tensor | None, values: Tensor, dtype: torch.dtype) -> Tensor:
        """A larger copy of a buffer, on the values' device unless that is the CPU."""
        device = values.device if buffer is None or buffer.is_cpu else buffer.device
        size = max(self._length, len(self._order), 0 if buffer is None else 2 * buffer.shape[0])
        with torch.inference_mode(False):
            larger = torch.empty(size, dtype=dtype, device=device)
        if buffer is not None:
            larger[: self._num_in_blocks].copy_(buffer[: self._num_in_blocks], non_blocking=True)
        return larger

    def _check_quantities(self, batch: Mapping[str, Tensor], known: Mapping[str, Tensor]) -> None:
        if known and batch.keys() != known.keys():
            raise ObservationError(
                f"Every batch must be measured in the same quantities, {sorted(known)}; got {sorted(batch)}. "
                "The method's `measure` returns them."
            )


def _joined(batches: list[Tensor]) -> Tensor:
    """Concatenate, on a device that any of them is on: never from a device to the CPU."""
    device = next((batch.device for batch in batches if not batch.is_cpu), batches[0].device)
    return torch.cat([batch.to(device, non_blocking=True) for batch in batches])
