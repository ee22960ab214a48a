"""What a pruner can tell about its current epoch."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from emprune.methods.base import Method
from emprune.plan import EpochPlan
from emprune.randomness import derive_generator
from emprune.selection import top_k
from emprune.stats import SampleStats

__all__ = ["PrunerSummary", "gini", "greedy_overlap", "summarise"]

_QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, kw_only=True)
class PrunerSummary:
    """The current epoch's plan in numbers; `str()` gives a readable block.

    Attributes:
        method: The method's name.
        epoch: The epoch, 0-based.
        num_kept: K.
        kept_fraction: K / N.
        never_seen: Samples without a valid observation as of the last fold.
        churn: Share of this plan that was not in the one before; None in the first epoch.
        greedy_overlap: Share of this plan that the K highest last losses would have taken; None while samples are
            unseen.
        score_quantiles: Minimum, quartiles and maximum of the scores of the seen; None for methods that do not score.
        staleness: Mean age of the scores of the seen, in epochs.
        visit_gini: Gini coefficient of the visits per sample: 0 even, towards 1 concentrated.
        total_visits: Observed visits of the run so far.
        planning_seconds: Spent planning (folding included) so far, in seconds.
    """

    method: str
    epoch: int
    num_kept: int
    kept_fraction: float
    never_seen: int
    churn: float | None
    greedy_overlap: float | None
    score_quantiles: tuple[float, ...] | None
    staleness: float | None
    visit_gini: float
    total_visits: int
    planning_seconds: float

    def __str__(self) -> str:
        def share(value: float | None) -> str:
            return "–" if value is None else f"{value:.1%}"

        quantiles = "–" if self.score_quantiles is None else " / ".join(f"{q:.3g}" for q in self.score_quantiles)
        age = "–" if self.staleness is None else f"{self.staleness:.2f} epochs"
        return "\n".join(
            [
                f"{self.method}, epoch {self.epoch}: {self.num_kept} kept ({self.kept_fraction:.1%})",
                f"  never seen      {self.never_seen}",
                f"  churn           {share(self.churn)} new since the last epoch",
                f"  greedy overlap  {share(self.greedy_overlap)}",
                f"  scores          {quantiles}  (min, quartiles, max)",
                f"  staleness       {age}",
                f"  visits          {self.total_visits} in all, Gini {self.visit_gini:.3f}",
                f"  planning        {self.planning_seconds:.3f} s so far",
            ]
        )


def summarise(
    method: Method,
    plan: EpochPlan,
    stats: SampleStats,
    *,
    visits: Tensor,
    churn: float | None,
    seed: int,
    planning_seconds: float,
) -> PrunerSummary:
    """Describe a plan and the columns it was made from.

    Args:
        method: The method.
        plan: The current epoch's plan.
        stats: The columns.
        visits: (N,) int32, visits so far, pending ones included.
        churn: Share of the plan that is new, if there was one before.
        seed: The run's seed.
        planning_seconds: Spent planning so far.
    """
    seen = stats.seen
    scores = method.score(stats) if method.scores else None
    return PrunerSummary(
        method=method.name,
        epoch=plan.epoch,
        num_kept=len(plan),
        kept_fraction=plan.kept_fraction,
        never_seen=int((~seen).count_nonzero()),
        churn=churn,
        greedy_overlap=greedy_overlap(plan, stats, seed),
        score_quantiles=None if scores is None else _score_quantiles(scores, seen),
        staleness=_staleness(stats, plan.epoch),
        visit_gini=gini(visits),
        total_visits=int(visits.sum()),
        planning_seconds=planning_seconds,
    )


def greedy_overlap(plan: EpochPlan, stats: SampleStats, seed: int) -> float | None:
    """Share of the plan that the K highest last losses would have taken, or None while samples are unseen."""
    seen = stats.seen
    if not bool(seen.all()):
        return None
    generator = derive_generator(seed, "greedy overlap", plan.epoch)
    hardest = torch.zeros_like(seen)
    hardest[top_k(stats["loss"], len(plan), generator=generator)] = True
    return float(hardest[plan.index].float().mean())


def _score_quantiles(scores: Tensor, seen: Tensor) -> tuple[float, ...] | None:
    """Minimum, quartiles and maximum of the seen samples' scores."""
    values = scores[seen].numpy()
    return tuple(float(q) for q in np.quantile(values, _QUANTILES)) if len(values) else None


def _staleness(stats: SampleStats, epoch: int) -> float | None:
    """Mean age in epochs of the last valid observation; 1 where all were visited in the epoch before."""
    ages = epoch - stats["last_visit"][stats.seen].float()
    return float(ages.mean()) if len(ages) else None


def gini(visits: Tensor) -> float:
    """Gini coefficient of (N,) non-negative counts, in O(N + max): 0 where all are equal.

    Example:
        >>> gini(torch.tensor([0, 0, 0, 4]))
        0.75
    """
    holders = torch.bincount(visits).double()
    total = float(visits.sum())
    if total == 0:
        return 0.0
    population = holders.cumsum(0) / len(visits)
    wealth = (holders * torch.arange(len(holders))).cumsum(0) / total
    previous = torch.cat([torch.zeros(1, dtype=torch.float64), wealth[:-1]])
    share = torch.diff(population, prepend=torch.zeros(1, dtype=torch.float64))
    return float(1 - (share * (wealth + previous)).sum())
