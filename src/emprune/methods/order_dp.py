"""OrderDP: the highest last losses of a random pool."""

from dataclasses import dataclass
from typing import ClassVar

from emprune.checks import real_number
from emprune.methods.base import Method, Selection, SelectionContext
from emprune.methods.pool import top_of_pool

__all__ = ["OrderDP"]


@dataclass(frozen=True)
class OrderDP(Method):
    """Keep the highest last losses of a random pool.

    Hard samples teach more, but top-K over all data visits nothing else. A fresh uniform pool gives every sample a
    chance, and the K highest losses of the pool are kept, without weights.

    In expectation this minimises L_q = (1/q) Σ_j γ_j L_(j), with L_(j) the j-th largest of n losses, a pool of s and q
    kept. γ_j is the probability that sample j is kept: Σ_l C(j-1, l-1) C(n-j, s-l) / C(n, s), l from max(1, s-n+j) to
    min(q, j).

    It selects exactly what ``EMP(beta=0, pool=pool)`` does. It needs no outputs, and no column besides the loss.

    Args:
        pool: Candidates per kept sample, at least 1. 1 is random. From the number of seen samples on it is greedy.

    Raises:
        ConfigError: If the value is out of range.

    References:
        OrderDP (Jin et al., ICLR 2026, arXiv 2606.08574). We read its abstract and its code, not the paper. The code
        has the same order, no weights, and the same γ_j, in a comment. There the pool is a share of the data (0.75)
        and the kept a share of the pool (0.85), which is a pool of 1.18 here. Ours: a pool of 2, and unseen samples
        first, where the code gives them a loss of 3.
    """

    pool: float = 2.0
    name: ClassVar[str] = "order-dp"

    def __post_init__(self) -> None:
        object.__setattr__(self, "pool", real_number("pool", self.pool, least=1, meaning="candidates per kept sample"))

    def select(self, context: SelectionContext) -> Selection:
        """Choose the top k of the pool."""
        return top_of_pool(context, self.pool)
