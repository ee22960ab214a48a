"""EMP without a pool and without a cut: samples are drawn in proportion to their score."""

from dataclasses import dataclass
from typing import ClassVar

from emprune.checks import LARGEST_FLOAT32, real_number
from emprune.methods import EMP, Selection, SelectionContext
from emprune.selection import sample_weighted

__all__ = ["SoftEMP"]


@dataclass(frozen=True, repr=False)
class SoftEMP(EMP):
    """Draw K samples without replacement, in proportion to (loss + beta · entropy) to a power.

    Args:
        strength: The power, at least 0; 0 is random.
    """

    strength: float = 1.0
    pool: float | None = None
    name: ClassVar[str] = "emp-soft"

    def __post_init__(self) -> None:
        super().__post_init__()
        meaning = "how much high scores are preferred"
        strength = real_number("strength", self.strength, least=0, most=LARGEST_FLOAT32, meaning=meaning)
        object.__setattr__(self, "strength", strength)

    def select(self, context: SelectionContext) -> Selection:
        """Draw them by their weights."""
        seen = context.seen.nonzero().squeeze(1)
        weights = context.scores[seen].clamp(min=1e-30).double().pow(self.strength).clamp(min=1e-300)
        generator = context.generator("soft", context.epoch)
        return Selection(seen[sample_weighted(weights, context.num_kept, generator=generator)])
