"""ReviewEMP: EMP that keeps a share of each epoch for what is about to be forgotten. Ours, experimental."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from emprune.errors import ConfigError
from emprune.methods.base import Selection, SelectionContext
from emprune.methods.emp import EMP
from emprune.selection import top_k
from emprune.stats import Column

__all__ = ["ReviewEMP"]

_HIGHEST_BOX, _FALL = 6, 2
_LAPSES = 4
"""A sample forgotten so often is not reviewed any more."""
_KNOWN = math.log(2)
"""A loss below it gave the label more than half of the probability: the prediction was right."""


@dataclass(frozen=True)
class ReviewEMP(EMP):
    """Fill a share rho of the epoch with what is most overdue for review, and the rest as `EMP` does.

    Spaced repetition: a visit is right where the label's probability p = exp(-loss) is above 1/2. Right moves a sample
    up a box, b <- min(b + 1, 6); wrong in a box above 0 is a lapse and moves it down two, b <- max(b - 2, 0). With t
    the epoch of its last visit a sample's review is overdue in epoch e by

    .. math:: u = (e - t) / g^b

    Of the samples with b >= 1 and fewer than 4 lapses the floor(rho · K) of highest u are reviewed, ties broken at
    random; where there are fewer, `EMP` gets their places. It chooses the rest from a pool of all the others. A sample
    with 4 lapses is left to what that pool draws.

    Args:
        beta: Weight of the memory term, finite and at least 0.
        memory: The term, as in `EMP`.
        pool: As in `EMP`, for what is not reviewed.
        review_fraction: rho, the share of an epoch's seen samples that are reviews, in [0, 1]; 0 is `EMP`.
        growth: g, the factor by which a box lengthens the interval, finite and at least 1.
        spaced: False draws the reviews uniformly from the same samples, whenever they were last visited. The ablation.

    Raises:
        ConfigError: If a value is out of range.

    References:
        Ours, a hypothesis under test. The boxes are Leitner's (1972). Intervals are counted in epochs of the run, and
        decide the order alone: a sample may be reviewed before u reaches 1. That exp(-loss) is the label's
        probability holds for the plain cross-entropy of one prediction.
    """

    pool: float | None = 2.0
    review_fraction: float = 0.25
    growth: float = 1.6
    spaced: bool = True
    name: ClassVar[str] = "emp-review"
    columns: ClassVar[tuple[Column, ...]] = (
        *EMP.columns,
        Column("box", "how often it was right in a row, up to 6; wrong takes 2 off", torch.int8),
        Column("lapses", "how often it was wrong in a box above 0, up to 4", torch.int8),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.review_fraction <= 1:
            raise ConfigError(
                "`review_fraction` must be in [0, 1], the reviews' share of an epoch: "
                f"got review_fraction={self.review_fraction}."
            )
        if not (math.isfinite(self.growth) and self.growth >= 1):
            raise ConfigError(f"`growth` must be finite and at least 1, a factor per box: got growth={self.growth}.")

    def fold(self, old: Mapping[str, Tensor], new: Mapping[str, Tensor], first: Tensor) -> Mapping[str, Tensor]:
        """Move what was right up a box, and what was wrong down two, a lapse unless it was in the lowest."""
        right = new["loss"] < _KNOWN
        box, lapses = old["box"].where(~first, 0), old["lapses"].where(~first, 0)
        return {
            "memory": new["memory"],
            "box": torch.where(right, (box + 1).clamp_(max=_HIGHEST_BOX), (box - _FALL).clamp_(min=0)),
            "lapses": (lapses + (~right & (box > 0))).clamp_(max=_LAPSES),
        }

    def select(self, context: SelectionContext) -> Selection:
        """Choose what is most overdue, and the top k of a pool of the rest."""
        stats = context.stats
        reviewable = (stats["box"] > 0).logical_and_(stats["lapses"] < _LAPSES).logical_and_(context.seen)
        num_reviews = min(math.floor(self.review_fraction * context.size), int(reviewable.count_nonzero()))
        if num_reviews == 0:
            return super().select(context)
        generator = context.generator("review", context.epoch)
        reviews = top_k(self._overdue(context), num_reviews, generator=generator, among=reviewable)
        rest = dataclasses.replace(
            context,
            seen=context.seen.index_fill(0, reviews, False),
            num_seen=context.num_seen - num_reviews,
            num_kept=context.size - num_reviews,
        )
        return Selection(torch.cat([reviews, super().select(rest).index]))

    def _overdue(self, context: SelectionContext) -> Tensor:
        """(N,) float32: u; or draws where reviews are not spaced."""
        if not self.spaced:
            return torch.rand(
                context.num_samples, generator=context.generator("unspaced", context.epoch), dtype=torch.float32
            )
        shrink = context.stats["box"].float().mul_(-math.log(self.growth)).exp_()
        return shrink.mul_(context.epoch - context.stats["last_visit"])
