"""InfoBatch: prune well-learned samples at random, and weigh up those of them that stay."""

import math
import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from emprune.checks import flag, real_number
from emprune.errors import MethodWarning
from emprune.indexing import num_true, positions_of
from emprune.methods.base import Method, Selection, SelectionContext
from emprune.selection import sample, top_k_mask

__all__ = ["InfoBatch"]

_MAX_RATIO = 0.9
"""The largest share of the well-learned samples that is pruned: weights stay at 10 or below."""


@dataclass(frozen=True)
class InfoBatch(Method):
    """Prune a share r of the samples with a loss below the mean, and multiply the rest of *them* by 1 / (1 - r).

    Everything at or above the mean stays with weight 1. So the sum of w · l over the kept samples, divided by N, is an
    unbiased estimate of the full mean.

    The paper gives r, and its cost follows from the losses. Here r is solved from the number below the mean so that
    the epoch has exactly its planned size. Where r would pass 0.9, the threshold rises to the quantile that makes
    r = 0.9 possible. Where no quantile does, the kept samples are uniform, with weight N / K. At a keep of 0.1 and
    below that is every epoch: nothing is preferred, and a warning tells it. With a tail the pruned epochs are smaller,
    so it happens at a somewhat higher keep too.

    Args:
        delta: The full-data tail starts after this share of the epochs, in (0, 1]. The tail is at most half of the
            budget, and shorter where the batches leave no room for it. `tail_epochs` overrides it.
        normalize: Divide the weights by their mean (ours). The step then does not grow with the mean weight, which at
            a low keep acts as a larger learning rate.

    Raises:
        ConfigError: If a value is out of range.

    References:
        Qin et al., ICLR 2024 (arXiv 2303.04947), with the mean, the weights and the delta of its code. Solving for r is
        ours. The paper prunes each sample with probability r. Here, as in its code, exactly (1 - r) b of the b samples
        below the mean are drawn. The code counts unseen samples with a loss of 3; here they come first.
    """

    delta: float = 0.875
    normalize: bool = False
    name: ClassVar[str] = "infobatch"

    def __post_init__(self) -> None:
        delta = real_number("delta", self.delta, above=0, most=1, meaning="the share of the epochs before the tail")
        object.__setattr__(self, "delta", delta)
        normalize = flag("normalize", self.normalize, meaning="whether the weights are divided by their mean")
        object.__setattr__(self, "normalize", normalize)

    def check(self, *, num_samples: int, keep: float) -> None:
        """Warn where the method prefers nothing."""
        if self.prefers_nothing(keep):
            warnings.warn(
                f"InfoBatch at keep={keep} prefers nothing: its weights are at most {1 / (1 - _MAX_RATIO):.0f}, so "
                f"that it keeps a uniform part of all samples, as Random does. Raise keep, or use Random.",
                MethodWarning,
                stacklevel=5,
            )

    def prefers_nothing(self, keep: float) -> bool:
        """Return whether all kept samples are a uniform subset, once all have been seen, for want of larger weights."""
        return keep <= round(1 - _MAX_RATIO, 9)

    def default_tail_epochs(self, *, num_epochs: int, keep: float) -> int:
        """Return (1 - delta) of the epochs, at most half of the budget."""
        return min(math.floor((1 - self.delta) * num_epochs + 0.5), math.floor(keep * num_epochs / 2))

    def select(self, context: SelectionContext) -> Selection:
        """Choose all at or above the threshold, and a uniform, weighed-up part of those below."""
        generator = context.generator("prune", context.epoch)
        below = context.seen & (context.scores < _mean(context))
        num_below = num_true(below)
        num_pruned = context.num_seen - context.num_kept
        if num_pruned > _MAX_RATIO * num_below:
            num_below = min(math.ceil(num_pruned / _MAX_RATIO), context.num_seen)
            below = top_k_mask(-context.scores, num_below, generator=generator, among=context.seen)
        return self._weighted(context, below, num_below, num_below - num_pruned, generator)

    def _weighted(
        self, context: SelectionContext, below: Tensor, num_below: int, num_stay: int, generator: torch.Generator
    ) -> Selection:
        stay = sample(context.num_samples, num_stay, generator=generator, among=below)
        above = positions_of(context.seen & ~below)
        weight = torch.ones(len(above) + num_stay, dtype=torch.float32)
        weight[len(above) :] = num_below / max(1, num_stay)
        if self.normalize:
            weight /= weight.mean()
        return Selection(torch.cat([above, stay]), weight)


def _mean(context: SelectionContext) -> float:
    """Mean over the seen in float64, where N equal float32 values average to exactly that value."""
    all_seen = context.num_seen == context.num_samples
    counted = context.scores if all_seen else context.scores.where(context.seen, 0)
    return float(counted.numpy().sum(dtype=np.float64)) / context.num_seen
