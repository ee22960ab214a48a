"""The candidate pool: the best k of a uniform draw, which methods with a pool share."""

import math

from torch import Tensor

from emprune.methods.base import Selection, SelectionContext
from emprune.selection import sample_mask, top_k

__all__ = ["pool_of_gap", "top_of_pool"]

_WIDEST, _SCALE = 2.0, 0.1
"""The pool without a gap, and the gap in nats at which a part 1/e of what it has above 1 is left."""


def pool_of_gap(gap: float) -> float:
    """Return 1 + (2 - 1) · exp(-max(0, gap) / 0.1): 2 where nothing is memorised, down to 1, which is random.

    Example:
        >>> [round(pool_of_gap(gap), 3) for gap in (-0.2, 0.0, 0.1, 1.0)]
        [2.0, 2.0, 1.368, 1.0]
    """
    return 1 + (_WIDEST - 1) * math.exp(-max(0.0, gap) / _SCALE)


def top_of_pool(context: SelectionContext, pool: float | None) -> Selection:
    """Choose the highest scores among `pool` uniform candidates per kept sample; None means all seen samples."""
    generator = context.generator("ties", context.epoch)
    return Selection(top_k(context.scores, context.num_kept, generator=generator, among=_candidates(context, pool)))


def _candidates(context: SelectionContext, pool: float | None) -> Tensor:
    if pool is None or pool * context.num_kept >= context.num_seen:
        return context.seen
    return sample_mask(
        context.num_samples,
        round(pool * context.num_kept),
        generator=context.generator("pool", context.epoch),
        among=context.seen,
    )
