"""The candidate pool: the best k of a uniform draw, which methods with a pool share."""

from torch import Tensor

from emprune.methods.base import Selection, SelectionContext
from emprune.selection import sample_mask, top_k

__all__ = ["top_of_pool"]


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
