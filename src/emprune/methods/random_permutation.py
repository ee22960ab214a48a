"""RandomPermutation: walk one shuffled order of the data in chunks, and reshuffle when it runs out."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from emprune.methods.base import Method, Selection, SelectionContext
from emprune.selection import top_k
from emprune.stats import SampleStats

__all__ = ["RandomPermutation"]


@dataclass(frozen=True)
class RandomPermutation(Method):
    """Visit all of the data before any of it again: the epochs of a stretched ordinary training. The baseline.

    Said per sample: the least visited come first, in random order. That is a walk through one shuffled permutation and
    the next. No sample is repeated within an epoch that spans two of them. The walk stays exact when an epoch is cut
    short or its size changes.

    References:
        RS2 without replacement (Okanovic et al. 2023, arXiv 2305.18424), which drops the remainder of a permutation.
    """

    name: ClassVar[str] = "random-permutation"
    needs_losses: ClassVar[bool] = False
    takes_weights: ClassVar[bool] = False

    def score(self, stats: SampleStats) -> Tensor:
        """Return minus the number of visits."""
        return -stats["visits"].float()

    def select(self, context: SelectionContext) -> Selection:
        """Choose the least visited."""
        generator = context.generator("permutation", context.epoch)
        return Selection(top_k(context.scores, context.num_kept, generator=generator, among=context.seen))
