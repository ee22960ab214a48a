"""SoftSelection: a draw without replacement that prefers high losses."""

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor

from emprune.checks import LARGEST_FLOAT32, one_of, real_number
from emprune.indexing import are_all
from emprune.methods.base import Method, Selection, SelectionContext
from emprune.selection import exponential_noise, top_k

__all__ = ["SoftSelection"]

WeightName: TypeAlias = Literal["power", "softmax", "percentile"]
_SMALLEST = float(np.finfo(np.float32).tiny)
"""A loss below it counts as it, because it has no logarithm that float32 holds."""
_STEP_BITS = 12
"""Percentiles leave out so many lower bits of a loss: losses that differ by less than a part in 2,048 may count as
equal."""


@dataclass(frozen=True)
class SoftSelection(Method):
    """Draw K samples without replacement, with weights that grow with the last loss.

    Top-K keeps no sample below its cut; here every sample keeps a chance. One number goes from random, at strength 0,
    to greedy, at a large strength.

    With the strength s, the weights are L^s ("power"), exp(s · L) ("softmax") or q^s ("percentile"). q is the share of
    the seen samples with a lower loss, plus half the share of those with an equal one. The temperature of the softmax
    is 1 / s. The K highest keys s · v + g are kept, with v = log L, L or log q, and g Gumbel noise. This is a draw of
    one sample after another, each in proportion to the weights of those that are left. No loss is multiplied.

    Planning is O(N). It remembers only the loss.

    Args:
        by: What the weights are made of. "power" needs losses above 0, and takes others as the smallest positive
            number. "percentile" depends on the order of the losses alone, and has no sort: losses that differ by less
            than a part in 2,048 may count as equal.
        strength: s, at least 0.
        final_strength: Where s ends, in proportion to the visits made; None holds it constant.

    Raises:
        ConfigError: If a value is out of range.

    References:
        Power: prioritised experience replay (Schaul et al., ICLR 2016, arXiv 1511.05952), without its weights. There
        draws are with replacement. Percentile: selective backprop (Jiang et al. 2019, arXiv 1910.00762), in Composer's
        form. There it is the percentile within a batch, by fresh losses, with s = 1 / keep - 1. Softmax: the second
        round of PanGu-π Pro (Tang et al. 2024, arXiv 2402.02791), whose formula we did not see. The keys: Gumbel-top-k
        (Kool et al., ICML 2019, arXiv 1903.06059). Ours: last losses of all seen samples, and a strength that changes.
    """

    by: WeightName = "power"
    strength: float = 1.0
    final_strength: float | None = None
    name: ClassVar[str] = "soft"

    def __post_init__(self) -> None:
        one_of("by", self.by, get_args(WeightName))
        for name in ("strength", "final_strength"):
            value, meaning = getattr(self, name), "how much high losses are preferred"
            if value is not None or name == "strength":
                value = real_number(name, value, least=0, most=LARGEST_FLOAT32, meaning=meaning)
                object.__setattr__(self, name, value)

    def select(self, context: SelectionContext) -> Selection:
        """Choose the highest keys."""
        keys = exponential_noise(context.num_samples, context.generator("soft", context.epoch)).log_().neg_()
        strength = self._strength(context.progress)
        # Keys of a strength above 1 are divided by it, so that none of them leaves float32.
        keys.div_(max(strength, 1.0)).add_(self._log_weights(context), alpha=min(strength, 1.0))
        generator = context.generator("ties", context.epoch)
        return Selection(top_k(keys, context.num_kept, generator=generator, among=context.seen))

    def _strength(self, progress: float) -> float:
        if self.final_strength is None:
            return self.strength
        return (1 - progress) * self.strength + progress * self.final_strength

    def _log_weights(self, context: SelectionContext) -> Tensor:
        """(N,) at a strength of 1; of no meaning where a sample is not seen, but never NaN."""
        losses = context.scores
        if context.num_seen < context.num_samples:
            losses = losses.where(context.seen, 0)
        if self.by == "softmax":
            return losses
        if self.by == "power":
            return losses.clamp(min=_SMALLEST).log_()
        return _log_percentiles(losses, context.seen)


def _log_percentiles(losses: Tensor, seen: Tensor) -> Tensor:
    """Return (N,) logarithms of the percentiles among the seen losses, in O(N): from counts of steps, without a sort.

    The bits of a float, read as an integer, have the order of the floats, once those of negative ones are inverted.
    Its upper 20 bits are the sign, the exponent and eleven bits of the mantissa.
    """
    bits = losses.view(torch.int32)
    steps = (bits >> 31).bitwise_and_(torch.iinfo(torch.int32).max).bitwise_xor_(bits).bitwise_right_shift_(_STEP_BITS)
    steps -= steps.min()
    counts = torch.bincount(steps if are_all(seen) else steps[seen], minlength=int(steps.max()) + 1)
    middles = counts.cumsum(0) - counts.double() / 2
    # A step of unseen samples alone may have the middle 0.
    percentiles = (middles / counts.sum()).float().clamp_(min=_SMALLEST)
    return percentiles.log_().index_select(0, steps)
