"""StaticSubset: the head of any outside ranking, for the whole run."""

import hashlib
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from emprune.errors import ConfigError
from emprune.methods.base import Method, Selection, SelectionContext
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

    def __post_init__(self) -> None:
        ranking = self.ranking
        if not isinstance(ranking, Tensor) or ranking.ndim != 1 or not ranking.is_floating_point():
            found = f"{tuple(ranking.shape)} {ranking.dtype}" if isinstance(ranking, Tensor) else type(ranking).__name__
            raise ConfigError(f"`ranking` must be a float tensor of shape (N,); got {found}.")
        if ranking.layout != torch.strided or ranking.is_meta:
            found = "a meta tensor" if ranking.is_meta else str(ranking.layout)
            raise ConfigError(f"`ranking` must hold a value for each sample; got {found}. Pass a dense tensor.")
        ranking = ranking.detach().to(torch.promote_types(ranking.dtype, torch.float32)).cpu().clone()
        if not ranking.isfinite().all():
            raise ConfigError("`ranking` must be finite; got NaN or infinite values. Rank those samples explicitly.")
        object.__setattr__(self, "ranking", ranking)

    def __repr__(self) -> str:
        return f"StaticSubset(ranking of {len(self.ranking)} samples)"

    def check(self, *, num_samples: int, keep: float) -> None:
        """Raise ConfigError unless there is one score per sample."""
        super().check(num_samples=num_samples, keep=keep)
        if len(self.ranking) != num_samples:
            raise ConfigError(f"`ranking` must have one value per sample; got {len(self.ranking)}, {num_samples=}.")

    def select(self, context: SelectionContext) -> Selection:
        """Choose the highest ranked; ties at the cut are broken once for the run."""
        return Selection(top_k(self.ranking, context.num_kept, generator=context.generator("ties")))

    def settings(self) -> dict[str, Any]:
        """Return the ranking's digest."""
        return {"ranking": hashlib.blake2b(self.ranking.numpy().tobytes(), digest_size=8).hexdigest()}
