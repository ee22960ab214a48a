"""EMP whose pool follows the gap, with another scale than 0.1 nats."""

import math
from dataclasses import dataclass
from typing import ClassVar

from emprune.checks import LARGEST_FLOAT32, real_number
from emprune.methods import EMP, Selection, SelectionContext
from emprune.methods.pool import top_of_pool

__all__ = ["GapScaleEMP"]


@dataclass(frozen=True, repr=False)
class GapScaleEMP(EMP):
    """Keep the highest loss + beta · entropy of a pool of 1 + exp(-gap / scale) candidates per kept sample.

    Args:
        scale: The gap in nats at which a part 1/e of what the pool has above 1 is left, above 0.
    """

    scale: float = 0.1
    pool: str = "gap"  # type: ignore[assignment]
    name: ClassVar[str] = "emp-gap-scale"

    def __post_init__(self) -> None:
        super().__post_init__()
        scale = real_number("scale", self.scale, above=0, most=LARGEST_FLOAT32, meaning="a gap in nats")
        object.__setattr__(self, "scale", scale)

    def select(self, context: SelectionContext) -> Selection:
        """Choose the top k of the pool."""
        assert context.gap is not None, "as needs_gap asks"
        return top_of_pool(context, 1 + math.exp(-max(0.0, context.gap) / self.scale))
