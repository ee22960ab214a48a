"""A bounded score, the length of the error vector, in a random pool."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from emprune.checks import real_number
from emprune.methods import Column, Method, SampleStats, Selection, SelectionContext
from emprune.methods.pool import top_of_pool

__all__ = ["EL2N"]


@dataclass(frozen=True)
class EL2N(Method):
    """Keep the highest ‖p - y‖ of a random pool: a loss that no wrong label can make larger than √2.

    ‖p - y‖² = ‖p‖² - 2 p_y + 1, and p_y = exp(-loss). So it takes the cross-entropy without label smoothing.

    Args:
        pool: Candidates per kept sample, at least 1.

    References:
        EL2N (Paul et al., NeurIPS 2021, arXiv 2107.07075), there once, early in training, for a fixed subset. Ours: in
        every epoch, from the last visit, within a pool.
    """

    pool: float = 2.0
    name: ClassVar[str] = "el2n"
    columns: ClassVar[tuple[Column, ...]] = (Column("squares", "the sum of the squared probabilities"),)
    needs_outputs: ClassVar[bool] = True

    def __post_init__(self) -> None:
        pool = real_number("pool", self.pool, least=1, meaning="candidates per kept sample")
        object.__setattr__(self, "pool", pool)

    def measure(self, losses: Tensor, outputs: Any) -> Mapping[str, Tensor]:
        """Return the sum of the squared probabilities."""
        return {"squares": outputs.float().softmax(dim=1).square().sum(dim=1)}

    def score(self, stats: SampleStats) -> Tensor:
        """Return ‖p - y‖."""
        return (stats["squares"] - 2 * (-stats["loss"]).exp() + 1).clamp(min=0).sqrt()

    def select(self, context: SelectionContext) -> Selection:
        """Choose the top k of the pool."""
        return top_of_pool(context, self.pool)
