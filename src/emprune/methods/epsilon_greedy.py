"""EpsilonGreedy: the highest running means of the loss, and a random share of the rest."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from emprune.checks import real_number
from emprune.columns import Column
from emprune.methods.base import Method, Selection, SelectionContext
from emprune.methods.replan import checked_alpha, checked_replan_every, held_selection
from emprune.selection import sample, top_k
from emprune.stats import SampleStats

__all__ = ["EpsilonGreedy"]


@dataclass(frozen=True)
class EpsilonGreedy(Method):
    """Fill (1 - epsilon) of the epoch by the running mean of the loss, and epsilon of it uniformly from the rest.

    Args:
        epsilon: The random share, in [0, 1]; 0 is greedy on the running mean, 1 is random.
        alpha: Weight of the newest loss in the running mean, in (0, 1]; 1 is the last loss.
        replan_every: Epochs for which a selection is held, once all samples have been seen. With `weights` none is
            held, because they draw the candidates of each epoch.

    Raises:
        ConfigError: If a value is out of range.

    References:
        Raju et al. 2021 (arXiv 2111.12621). The paper's constants could not be verified; the defaults are ours, alpha
        and replan_every those of `UCB`.
    """

    epsilon: float = 0.1
    alpha: float = 0.8
    replan_every: int = 10
    name: ClassVar[str] = "epsilon-greedy"
    columns: ClassVar[tuple[Column, ...]] = (Column("mean", "running mean of the loss"),)

    def __post_init__(self) -> None:
        epsilon = real_number("epsilon", self.epsilon, least=0, most=1, meaning="the random share of an epoch")
        object.__setattr__(self, "epsilon", epsilon)
        object.__setattr__(self, "alpha", checked_alpha(self.alpha))
        object.__setattr__(self, "replan_every", checked_replan_every(self.replan_every))

    def fold(self, old: Mapping[str, Tensor], new: Mapping[str, Tensor], first: Tensor) -> Mapping[str, Tensor]:
        """Move the running mean towards the newest loss; the first loss starts it."""
        mean = torch.lerp(old["mean"], new["loss"], self.alpha)
        return {"mean": torch.where(first, new["loss"], mean)}

    def score(self, stats: SampleStats) -> Tensor:
        """Return the running mean."""
        return stats["mean"]

    def select(self, context: SelectionContext) -> Selection:
        """Hold the last selection, or choose the top (1 - epsilon) k and epsilon k of the others."""
        held = held_selection(context, self.replan_every)
        if held is not None:
            return Selection(held)
        generator = context.generator("explore", context.epoch)
        num_random = round(self.epsilon * context.num_kept)
        top = top_k(context.scores, context.num_kept - num_random, generator=generator, among=context.seen)
        others = context.seen.clone()
        others[top] = False
        return Selection(torch.cat([top, sample(context.num_samples, num_random, generator=generator, among=others)]))
