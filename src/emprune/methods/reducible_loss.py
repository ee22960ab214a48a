"""ReducibleLoss: the part of the last loss that more training can remove."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from emprune.checks import LARGEST_FLOAT32
from emprune.methods.base import Method, Selection, SelectionContext
from emprune.methods.outside import check_length, checked_values, digest
from emprune.selection import top_k
from emprune.stats import SampleStats

__all__ = ["ReducibleLoss"]


@dataclass(frozen=True, eq=False)
class ReducibleLoss(Method):
    """Keep the highest last loss minus irreducible loss (RHO-LOSS).

    A wrong label or noise has a high loss that no training removes. A model trained on held-out data has that loss too,
    so the difference is what is still to be learnt: score_i = L_i − IL_i.

    It remembers only the loss. The irreducible losses take 4 bytes per sample, or 8 in float64. A saved state keeps
    their digest.

    Args:
        irreducible: (N,) float, finite: each sample's loss under a model trained on *other* data, in evaluation mode,
            with the same loss function. It is computed once, before the run.

    Raises:
        ConfigError: If it is not a finite (N,) float tensor.

    Example:
        >>> import torch
        >>> ReducibleLoss(torch.tensor([0.5, 0.25]))
        ReducibleLoss(irreducible losses of 2 samples)

    References:
        RHO-LOSS (Mindermann et al., ICML 2022, arXiv 2206.07137), with the score and the top k of its code. There L_i
        is fresh, computed for a random batch of 320, from which the best tenth is kept. Here L_i is of the last visit,
        without a further forward pass, and the candidates are all seen samples.
    """

    irreducible: Tensor
    name: ClassVar[str] = "reducible-loss"

    def __post_init__(self) -> None:
        object.__setattr__(self, "irreducible", checked_values("irreducible", self.irreducible))

    def __repr__(self) -> str:
        return f"ReducibleLoss(irreducible losses of {len(self.irreducible)} samples)"

    def check(self, *, num_samples: int, keep: float) -> None:
        """Raise ConfigError unless there is one irreducible loss per sample."""
        super().check(num_samples=num_samples, keep=keep)
        check_length("irreducible", self.irreducible, num_samples)

    def score(self, stats: SampleStats) -> Tensor:
        """Return loss - irreducible loss."""
        scores = (stats["loss"] - self.irreducible).float()
        return scores.clamp_(-LARGEST_FLOAT32, LARGEST_FLOAT32)  # unseen samples stay NaN

    def select(self, context: SelectionContext) -> Selection:
        """Choose the top k."""
        generator = context.generator("ties", context.epoch)
        return Selection(top_k(context.scores, context.num_kept, generator=generator, among=context.seen))

    def settings(self) -> dict[str, Any]:
        """Return the irreducible losses' digest."""
        return {"irreducible": digest(self.irreducible)}
