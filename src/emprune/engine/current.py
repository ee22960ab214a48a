"""The current epoch: a plan, and what follows from it, such as which epoch comes next."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from emprune.checks import as_whole
from emprune.errors import EpochError
from emprune.indexing import num_true
from emprune.plan import EpochPlan

__all__ = ["CurrentEpoch", "check_next", "epoch_number"]


@dataclass(frozen=True, eq=False)
class CurrentEpoch:
    """A plan that is being delivered.

    Args:
        plan: The plan.
        planned: (N,) bool: the samples in the plan.
        by_method: Whether the method alone chose it: no full epoch, and no unseen samples in it.
    """

    plan: EpochPlan
    planned: Tensor
    by_method: bool
    _weight_on: dict[torch.device, Tensor] = field(default_factory=dict, init=False, repr=False)

    def churn_since(self, before: "CurrentEpoch") -> float:
        """Return the share of the plan that was not in another."""
        return 1 - num_true(self.planned & before.planned) / len(self.plan)

    def weights(self, index: Tensor) -> Tensor:
        """Return (B,) float32, what each sample's loss is multiplied by, on the device of `index`."""
        if self.plan.weight is None:
            return torch.ones(len(index), dtype=torch.float32, device=index.device)
        if index.device not in self._weight_on:  # once per epoch, not per batch
            weight = torch.ones(self.plan.num_samples, dtype=torch.float32, device="cpu")
            weight.index_copy_(0, self.plan.index, self.plan.weight)
            self._weight_on[index.device] = weight.to(index.device, non_blocking=True)
        return self._weight_on[index.device][index]

    def forget_weights(self) -> None:
        """Free the (N,) weights; they are made again where they are asked for."""
        self._weight_on.clear()


def epoch_number(epoch: Any) -> int:
    """Return an epoch's number.

    Raises:
        EpochError: If it is no integer.
    """
    number = as_whole(epoch)
    if number is None:
        raise EpochError(f"`epoch` must be an integer, counted from 0; got {epoch!r}. Pass an int.")
    return number


def check_next(epoch: int, current: CurrentEpoch | None, *, num_epochs: int) -> None:
    """Raise EpochError unless an epoch is the one that follows the current one."""
    following = 0 if current is None else current.plan.epoch + 1
    if epoch == following < num_epochs:
        return
    rule = f"Epochs count from 0 to {num_epochs - 1} and come in order, each planned once; got epoch={epoch}"
    if following == num_epochs:
        raise EpochError(
            f"{rule}; the run is over. A new run takes a new pruner. A loop that counts steps takes "
            "PrunedLoader(num_steps=...) and `for index, batch in loader.batches()`."
        )
    if current is None and epoch == 1:
        raise EpochError(f"{rule} before epoch 0. Count from 0: write set_epoch(epoch - 1).")
    again = "" if current is None else f", or epoch {following - 1} again"
    raise EpochError(
        f"{rule}; next is epoch {following}{again}. To resume a run, load its state before the first epoch."
    )
