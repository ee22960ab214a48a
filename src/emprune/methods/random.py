"""Random: a fresh uniform subset each epoch."""

from dataclasses import dataclass
from typing import ClassVar

from emprune.methods.base import Method, Selection, SelectionContext
from emprune.selection import sample

__all__ = ["Random"]


@dataclass(frozen=True)
class Random(Method):
    """Draw a fresh uniform subset each epoch, without replacement within it.

    References:
        RS2 with replacement between epochs (Okanovic et al. 2023, arXiv 2305.18424).
    """

    name: ClassVar[str] = "random"
    scores: ClassVar[bool] = False

    def select(self, context: SelectionContext) -> Selection:
        """Choose uniformly."""
        return Selection(
            sample(context.num_samples, context.num_kept, generator=context.generator("subset", context.epoch))
        )
