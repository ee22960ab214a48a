"""StaticSubset: the head of any outside ranking, for the whole run."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from emprune.methods.base import Method, Selection, SelectionContext
from emprune.methods.outside import check_length, checked_values, digest
from emprune.selection import top_k

__all__ = ["StaticSubset"]


@dataclass(frozen=True, eq=False)
class StaticSubset(Method):
    """Keep the highest of a ranking made elsewhere (EL2N, Forgetting, Herding, ...) for the whole run.

    Args:
        ranking: (N,) float, finite; higher means keep.

    Raises:
        ConfigError: If it is not a finite (N,) float tensor.

    Example:
        >>> import torch
        >>> StaticSubset(torch.tensor([0.2, 0.9])).settings()
        {'ranking': '516d6c95c7bf6cd7'}
    """

    ranking: Tensor
    name: ClassVar[str] = "static-subset"
    scores: ClassVar[bool] = False
    takes_weights: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "ranking", checked_values("ranking", self.ranking))

    def __repr__(self) -> str:
        return f"StaticSubset(ranking of {len(self.ranking)} samples)"

    def check(self, *, num_samples: int, keep: float) -> None:
        """Raise ConfigError unless there is one score per sample."""
        super().check(num_samples=num_samples, keep=keep)
        check_length("ranking", self.ranking, num_samples)

    def select(self, context: SelectionContext) -> Selection:
        """Choose the highest ranked; ties at the cut are broken once for the run."""
        return Selection(top_k(context.of_these(self.ranking), context.num_kept, generator=context.generator("ties")))

    def settings(self) -> dict[str, Any]:
        """Return the ranking's digest."""
        return {"ranking": digest(self.ranking)}
