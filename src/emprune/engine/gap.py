"""The generalisation gap: what the user hands over once an epoch, made equal on all ranks.

A gap is the validation loss minus the training loss, both of the same model in evaluation mode. The losses that the
columns hold cannot stand for the second. They are of training mode, and of other epochs. A method that prefers high
losses leaves the lowest unvisited, so no weights correct for its choice.
"""

import math
import statistics
from typing import Any

import torch
from torch import Tensor

from emprune.checks import as_real
from emprune.distributed import Ranks
from emprune.errors import ObservationError, StateError
from emprune.stats import is_plain

__all__ = ["Gap", "read_gap"]


class Gap:
    """The gap that a method follows.

    Args:
        needed: Whether the method follows it. If not, what is handed over is checked and forgotten.

    Attributes:
        needed: Whether the method follows it.
        value: The gap as of the last fold, in nats; None before the first.
    """

    def __init__(self, *, needed: bool) -> None:
        self.needed = needed
        self.value: float | None = None
        self._given: float | None = None

    @property
    def is_pending(self) -> bool:
        """Whether this rank handed over a gap since the last fold."""
        return self._given is not None

    def observe(self, loss: Any, train_loss: Any) -> None:
        """Take two mean losses; a later call replaces an earlier one.

        Raises:
            ObservationError: If one of them is no finite number; nothing is taken then.
        """
        gap = _mean_loss("loss", loss) - _mean_loss("train_loss", train_loss)
        if self.needed:
            self._given = gap

    def merge(self, ranks: Ranks) -> None:
        """Take the mean of the ranks that handed one over, where any did; collective if the gap is needed."""
        if self.needed:
            given = ranks.exchange(self._given, doing="the merge of the validation losses")
            self._take([gap for gap in given if gap is not None])

    def merge_local(self) -> None:
        """Take what this process handed over."""
        self._take([] if self._given is None else [self._given])

    def state(self) -> Tensor | None:
        """Return (), float64, NaN before the first gap; None if the method follows none."""
        if not self.needed:
            return None
        return torch.tensor(math.nan if self.value is None else self.value, dtype=torch.float64)

    def restore(self, saved: Tensor | None) -> None:
        """Take over what `read_gap` returned."""
        self.value = None if saved is None or bool(saved.isnan()) else float(saved)
        self._given = None

    def _take(self, given: list[float]) -> None:
        if given:
            self.value = statistics.mean(given)  # exact: equal values stay what they are
            self._given = None


def read_gap(saved: object, *, needed: bool) -> Tensor | None:
    """Return the gap that a state holds, checked.

    Args:
        saved: What `Gap.state` returned.
        needed: Whether the method follows it.

    Raises:
        StateError: If it is something else.
    """
    if needed and isinstance(saved, Tensor) and is_plain(saved):
        if saved.shape == () and saved.dtype == torch.float64:
            return saved.cpu()
    elif not needed and saved is None:
        return None
    rule = "() float64" if needed else "left out for a method that follows no gap"
    found = f"{tuple(saved.shape)} {saved.dtype}" if isinstance(saved, Tensor) else repr(saved)
    raise StateError(f"The saved `gap` must be {rule}; got {found}. Pass what pruner.state_dict() returned.")


def _mean_loss(name: str, value: Any) -> float:
    number = as_real(value.item() if isinstance(value, Tensor) and value.numel() == 1 else value)
    if number is None or not math.isfinite(number):
        is_large = isinstance(value, Tensor) and value.numel() != 1
        found = f"a tensor of shape {tuple(value.shape)}" if is_large else repr(value)
        raise ObservationError(
            f"`{name}` must be a finite number, a mean loss in evaluation mode; got {found}. Call "
            "observe_validation(loss, train_loss=...) with the means over the validation data and over the probe."
        )
    return number
