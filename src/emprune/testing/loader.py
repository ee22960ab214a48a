"""What a training loop uses of a loader, and `LoaderContract` tests."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from torch import Tensor

__all__ = ["Loader"]


class Loader(Protocol):
    """The part of a loader that training loops use and `LoaderContract` tests."""

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run."""

    def set_epoch(self, epoch: int) -> None:
        """Plan an epoch."""

    def __len__(self) -> int:
        """Batches of the current epoch."""

    def __iter__(self) -> Iterator[tuple[Tensor, Any]]:
        """Deliver the current epoch: (index, batch)."""

    def peek(self) -> tuple[Tensor, Any]:
        """Return the first batch of a new pass."""

    def epochs(self) -> Iterator[int]:
        """Plan each remaining epoch."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the run, the pruner's included."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
