"""SampledEMP: EMP's score as a probability, and weights that undo it late in the run. Ours, experimental."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from emprune.errors import ConfigError
from emprune.methods.base import Selection, SelectionContext
from emprune.methods.emp import MemoryScored

__all__ = ["SampledEMP", "inclusion_probabilities", "systematic_sample"]

_START = 0.7
"""The share of the run's visits after which the weights begin to rise."""
_BELOW_ONE = 1 - 2**-24
"""The largest float32 below 1."""


@dataclass(frozen=True)
class SampledEMP(MemoryScored):
    r"""Draw samples in proportion to loss + beta · memory, and reweight them late so that the gradients are unbiased.

    With s = max(loss + beta · memory, 0) over N seen samples, each is kept with probability

    .. math:: \pi = \min(1, c \, q), \qquad q = (1 - \eta) \, s / \textstyle\sum s + \eta / N

    where c is such that the probabilities sum to K. Exactly K are kept, drawn systematically over a shuffled order, at
    weight (K / (N π))^α. At α = 1 the mean of weight · loss is an unbiased estimate of its mean over all N, with a mean
    weight of 1; no weight is above 1/η, since c >= K. α is 0 for seven tenths of the run's visits and then rises
    linearly, to 1 in the last epoch: the data's own distribution comes back without a full-data tail.

    Args:
        beta: Weight of the memory term, finite and at least 0.
        memory: The term, as in `EMP`.
        uniform_fraction: η, the part of q that is uniform, in (0, 1]; 1 is random.
        alpha: The exponent of the weights throughout, in [0, 1]; None is the rise. 0 and 1 are the ablations.

    Raises:
        ConfigError: If a value is out of range.

    References:
        Ours, a hypothesis under test. Where a full-data tail ends the run, α stops short of 1. On two classes a beta
        below 3.591 still matters here: what counts is the score's size, and not its rank alone.
    """

    uniform_fraction: float = 0.3
    alpha: float | None = None
    name: ClassVar[str] = "emp-sampled"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.uniform_fraction <= 1:
            raise ConfigError(
                "`uniform_fraction` must be in (0, 1], so that no weight is above its inverse: "
                f"got uniform_fraction={self.uniform_fraction}."
            )
        if self.alpha is not None and not 0 <= self.alpha <= 1:
            raise ConfigError(
                f"`alpha` must be in [0, 1], the weights' exponent, or None for the rise: got alpha={self.alpha}."
            )

    def ranks_as_greedy(self, num_classes: int) -> bool:
        """Return False: the size of a score matters, and not its rank alone."""
        return False

    def select(self, context: SelectionContext) -> Selection:
        """Draw in proportion to the score."""
        probability = inclusion_probabilities(self._share(context), context.size)
        generator = context.generator("sampling", context.epoch)
        index = systematic_sample(probability, context.size, generator=generator)
        alpha = max(0.0, (context.progress - _START) / (1 - _START)) if self.alpha is None else self.alpha
        if alpha == 0:
            return Selection(index)
        expected = context.size / context.num_seen
        return Selection(index, (expected / probability[index]).pow_(alpha))

    def _share(self, context: SelectionContext) -> Tensor:
        """(N,) float32: q, and 0 for what was not seen."""
        unseen, floor = ~context.seen, self.uniform_fraction / context.num_seen
        share = context.scores.clamp(min=0).masked_fill_(unseen, 0)
        total = _sum(share)
        if total == 0:
            return share.fill_(1 / context.num_seen).masked_fill_(unseen, 0)
        return share.mul_((1 - self.uniform_fraction) / total).add_(floor).masked_fill_(unseen, 0)


def inclusion_probabilities(share: Tensor, k: int) -> Tensor:
    """Turn shares into probabilities in proportion to them, at most 1 each, that sum to k.

    Newton's method on c in sum(min(1, c · share)) = k: c grows from below, and what it makes certain stays certain, so
    it ends after a few passes.

    Args:
        share: (N,) float32, at least 0; overwritten.
        k: How many, at most the number of positive shares.

    Returns:
        (N,) float32, the same tensor: exactly 1 where certain.

    Example:
        >>> inclusion_probabilities(torch.tensor([0.1, 0.2, 0.7]), 2)
        tensor([0.3333, 0.6667, 1.0000])
    """
    positive = share > 0
    if k == int(positive.count_nonzero()):
        return share.copy_(positive)
    factor, num_certain = k / _sum(share), 0
    while True:
        certain = share >= 1 / factor
        count = int(certain.count_nonzero())
        if count <= num_certain or count >= k:
            break
        num_certain = count
        factor = (k - count) / _sum(share.masked_fill(certain, 0))
    return share.mul_(factor).clamp_(max=_BELOW_ONE).masked_fill_(certain, 1)


def systematic_sample(probability: Tensor, k: int, *, generator: torch.Generator) -> Tensor:
    """Draw exactly k positions, each with its own probability.

    The probabilities are laid end to end in random order, on a line of length k; every position that holds one of the k
    points at distance 1 of each other, of which the first is drawn uniformly, is taken.

    Args:
        probability: (N,) float32 in [0, 1], which sum to k.
        k: How many.
        generator: Draws the order and the first point.

    Returns:
        (k,) int64 positions, in no particular order.

    Example:
        >>> systematic_sample(torch.tensor([0.0, 1.0, 1.0]), 2, generator=torch.Generator()).sort().values
        tensor([1, 2])
    """
    certain = (probability == 1).nonzero().squeeze(1)
    num_drawn = k - len(certain)
    if num_drawn == 0:
        return certain
    dtype = torch.int32 if len(probability) < 2**31 else torch.int64
    order = torch.randperm(len(probability), generator=generator, dtype=dtype)
    line = probability.index_select(0, order).double().numpy()
    line[line == 1] = 0
    np.cumsum(line, out=line)
    end = line == line[-1]
    line *= num_drawn / line[-1]
    line[end] = num_drawn  # rounding must not lose the last point, nor, below, add one beyond it
    line += float(torch.rand((), generator=generator, dtype=torch.float64))
    np.floor(line, out=line)
    np.minimum(line, num_drawn, out=line)
    holds = np.empty(len(line), dtype=np.bool_)
    holds[0] = line[0] > 0
    np.greater(line[1:], line[:-1], out=holds[1:])
    return torch.cat([certain, order[torch.from_numpy(holds)].long()])


def _sum(values: Tensor) -> float:
    """The sum in float64, by NumPy: the same on ranks of different numbers of threads."""
    return float(np.sum(values.numpy(), dtype=np.float64))
