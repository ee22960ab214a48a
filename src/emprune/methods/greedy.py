"""Greedy: the highest last losses."""

from dataclasses import dataclass
from typing import ClassVar

from emprune.methods.base import Method, Selection, SelectionContext
from emprune.selection import top_k

__all__ = ["Greedy"]


@dataclass(frozen=True)
class Greedy(Method):
    """Keep the samples with the highest last losses: "train on the hardest", the plain low-frequency learner.

    A sample that is not visited keeps its old, stale loss; ties are broken at random.
    """

    name: ClassVar[str] = "greedy"

    def select(self, context: SelectionContext) -> Selection:
        """Choose the top k."""
        generator = context.generator("ties", context.epoch)
        return Selection(top_k(context.scores, context.num_kept, generator=generator, among=context.seen))
