"""UCB: an upper confidence bound on the loss."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from emprune.checks import LARGEST_FLOAT32, real_number
from emprune.columns import Column
from emprune.methods.base import Method, Selection, SelectionContext
from emprune.methods.replan import checked_alpha, checked_replan_every, held_selection
from emprune.selection import top_k
from emprune.stats import SampleStats

__all__ = ["UCB"]


@dataclass(frozen=True)
class UCB(Method):
    """Keep the highest running mean of the loss plus c times its running variance.

    On a visit with loss L: v <- (1 - alpha) v + alpha (L - m)^2 with the *old* mean m, then
    m <- (1 - alpha) m + alpha L. The first visit sets m = L and v = 0.

    Args:
        c: Weight of the variance, finite and at least 0.
        alpha: Weight of the newest observation, in (0, 1].
        replan_every: Epochs for which a selection is held, once all samples have been seen. With `weights` none is
            held, because they draw the candidates of each epoch.

    Raises:
        ConfigError: If a value is out of range.

    References:
        Raju et al. 2021 (arXiv 2111.12621); constants as the authors of InfoBatch re-implemented it. Theirs starts the
        variance at alpha L^2, which inflates newly seen samples; ours starts it at 0.
    """

    c: float = 1.0
    alpha: float = 0.8
    replan_every: int = 10
    name: ClassVar[str] = "ucb"
    columns: ClassVar[tuple[Column, ...]] = (
        Column("mean", "running mean of the loss"),
        Column("variance", "running variance of the loss"),
    )

    def __post_init__(self) -> None:
        c = real_number("c", self.c, least=0, most=LARGEST_FLOAT32, meaning="the variance's weight")
        object.__setattr__(self, "c", c)
        object.__setattr__(self, "alpha", checked_alpha(self.alpha))
        object.__setattr__(self, "replan_every", checked_replan_every(self.replan_every))

    def fold(self, old: Mapping[str, Tensor], new: Mapping[str, Tensor], first: Tensor) -> Mapping[str, Tensor]:
        """Update the variance from the old mean, then the mean."""
        loss = new["loss"]
        mean = torch.lerp(old["mean"], loss, self.alpha)
        surprise = (loss - old["mean"]).square().clamp_(max=LARGEST_FLOAT32)
        variance = torch.lerp(old["variance"], surprise, self.alpha)
        return {
            "mean": torch.where(first, loss, mean),
            "variance": torch.where(first, torch.zeros_like(variance), variance),
        }

    def score(self, stats: SampleStats) -> Tensor:
        """Return mean + c · variance."""
        return torch.add(stats["mean"], stats["variance"], alpha=self.c).clamp_(max=LARGEST_FLOAT32)

    def select(self, context: SelectionContext) -> Selection:
        """Hold the last selection, or choose the top k."""
        held = held_selection(context, self.replan_every)
        if held is not None:
            return Selection(held)
        generator = context.generator("ties", context.epoch)
        return Selection(top_k(context.scores, context.num_kept, generator=generator, among=context.seen))
