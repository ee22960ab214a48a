"""What a pruner can tell about its current epoch."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from emprune.indexing import are_all, num_true, taken
from emprune.methods.base import Method
from emprune.plan import EpochPlan
from emprune.randomness import derive_generator
from emprune.selection import top_k_mask
from emprune.stats import SampleStats

__all__ = ["PrunerSummary", "gini", "greedy_overlap", "summarise"]

_QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, kw_only=True)
class PrunerSummary:
    """The current epoch's plan in numbers. Print it for a description in words.

    Attributes:
        method: The method's name.
        epoch: The epoch, 0-based; -1 before the first.
        num_samples: N.
        num_kept: K; 0 before the first epoch.
        kept_fraction: K / N.
        never_seen: Samples without a valid observation as of the last fold.
        churn: Share of this plan that was not in the plan before; None in the first epoch.
        greedy_overlap: Share of this plan that is among the K highest last losses. None while samples are unseen, once
            losses of this epoch are folded, or if it was not asked for.
        score_quantiles: Minimum, quartiles and maximum of the seen samples' scores; None for a method without scores.
        staleness: Mean age of the seen samples' scores, in epochs.
        visit_gini: Gini coefficient of the visits per sample: 0 where all are equal, towards 1 where few have all.
        total_visits: Observed visits of the run so far.
        planning_seconds: Time spent on planning and folding so far, in seconds.
    """

    method: str
    epoch: int
    num_samples: int
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

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers by name, as JSON has them."""
        quantiles = self.score_quantiles
        return {**asdict(self), "score_quantiles": None if quantiles is None else list(quantiles)}

    def __str__(self) -> str:
        if self.epoch < 0:
            return f"{self.method}, before the first epoch: {self.num_samples:,} samples, none visited"
        head = f"{self.method}, epoch {self.epoch}: {self.num_kept:,} of {self.num_samples:,} samples are visited"
        lines = {"never seen": f"{self.never_seen:,} samples"}
        if self.churn is not None:
            lines["new in the plan"] = f"{self.churn:.1%} were not in the plan before"
        if self.greedy_overlap is not None:
            lines["highest losses"] = f"{self.greedy_overlap:.1%} would be chosen by the last loss alone"
        if self.score_quantiles is not None:
            low, *quartiles, high = (f"{value:.3g}" for value in self.score_quantiles)
            lines["scores"] = f"from {low} to {high}, quartiles {', '.join(quartiles)}"
        if self.staleness is not None:
            lines["age of the losses"] = f"{self.staleness:.2f} epochs on average"
        per_sample = self.total_visits / self.num_samples
        lines["visits so far"] = f"{self.total_visits:,}, {per_sample:.2f} per sample, Gini {self.visit_gini:.3f}"
        lines["planning so far"] = f"{self.planning_seconds:.3f} s"
        return "\n".join([f"{head} ({self.kept_fraction:.1%})", *(f"  {k:<18} {v}" for k, v in lines.items())])

    __repr__ = __str__


def summarise(
    method: Method,
    plan: EpochPlan | None,
    stats: SampleStats,
    *,
    visits: Tensor,
    churn: float | None,
    seed: int,
    planning_seconds: float,
    measures_overlap: bool = True,
) -> PrunerSummary:
    """Describe a plan and the columns that it was made from.

    Args:
        method: The method.
        plan: The current epoch's plan; None before the first.
        stats: The columns.
        visits: (N,) int32, visits so far, pending ones included.
        churn: Share of the plan that is new, if there was one before.
        seed: The run's seed.
        planning_seconds: Time spent on planning so far.
        measures_overlap: Whether to measure `greedy_overlap`.
    """
    seen = stats.seen
    scores = method.score(stats) if method.scores else None
    return PrunerSummary(
        method=method.name,
        epoch=-1 if plan is None else plan.epoch,
        num_samples=stats.num_samples,
        num_kept=0 if plan is None else len(plan),
        kept_fraction=0.0 if plan is None else plan.kept_fraction,
        never_seen=num_true(~seen),
        churn=churn,
        greedy_overlap=None if plan is None or not measures_overlap else greedy_overlap(plan, stats, seed),
        score_quantiles=None if scores is None else _score_quantiles(scores, seen),
        staleness=None if plan is None else _staleness(stats, plan.epoch),
        visit_gini=gini(visits),
        total_visits=int(visits.sum()),
        planning_seconds=planning_seconds,
    )


def greedy_overlap(plan: EpochPlan, stats: SampleStats, seed: int) -> float | None:
    """Share of the plan that the K highest last losses would have taken.

    None while samples are unseen, and where losses of the plan's own epoch have replaced those that it was made from.
    """
    if not are_all(stats.seen) or num_true(taken(stats["last_visit"], plan.index) == plan.epoch):
        return None
    generator = derive_generator(seed, "greedy overlap", plan.epoch)
    hardest = top_k_mask(stats["loss"], len(plan), generator=generator)
    return float(hardest[plan.index].float().mean())


def _score_quantiles(scores: Tensor, seen: Tensor) -> tuple[float, ...] | None:
    """Minimum, quartiles and maximum of the seen samples' scores."""
    values = scores[seen].numpy()
    return tuple(float(q) for q in np.quantile(values, _QUANTILES)) if len(values) else None


def _staleness(stats: SampleStats, epoch: int) -> float | None:
    """Mean age in epochs of the last valid observation; 1 where all were visited in the epoch before.

    What an earlier run observed is as old as an epoch before the first would be.
    """
    ages = epoch - stats["last_visit"][stats.seen].clamp(min=-1).float()
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
