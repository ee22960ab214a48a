"""The current epoch: a plan, and what follows from it."""

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from emprune.plan import EpochPlan

__all__ = ["CurrentEpoch"]


@dataclass(frozen=True, eq=False)
class CurrentEpoch:
    """A plan that is being delivered.

    Args:
        plan: The plan.
        by_method: Whether the method alone chose it: no full epoch, and no unseen samples in it.
    """

    plan: EpochPlan
    by_method: bool
    _weight_on: dict[torch.device, Tensor] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def planned(self) -> Tensor:
        """(N,) bool: the samples in the plan."""
        return torch.zeros(self.plan.num_samples, dtype=torch.bool).index_fill_(0, self.plan.index, True)

    def churn_since(self, before: "CurrentEpoch") -> float:
        """Return the share of the plan that was not in another."""
        return 1 - int((self.planned & before.planned).count_nonzero()) / len(self.plan)

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
