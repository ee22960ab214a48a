"""Curves of what methods reach at several costs: the lowest cost that loses nothing, and what a method is worth.

A curve is a method's mean over the seeds at each keep, and linear in between. It ends in full training, at keep 1.
Intervals are bootstrapped over the seeds: all methods have the same draw, with replacement. An interval holds the
middle 95 % of the draws. With few seeds it is rough, and rather too narrow.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from emprune_lab.comparison.rows import outcome
from emprune_lab.comparison.statistics import ROUNDING, Estimate, Floats, mean_interval, paired_difference
from emprune_lab.comparison.table import Table
from emprune_lab.method_spec import DEFAULT_BASELINE
from emprune_lab.metrics import Metric, metric_of
from emprune_lab.results.record import RunRecord

__all__ = ["NOTES", "Curves", "KeepEstimate", "curves_of", "curves_table", "draws", "equivalent_keeps", "lowest_keeps"]

FULL = "full"
MOST_SEEDS = 6
"""Up to so many all draws are counted; above it so many as `NUM_DRAWS` are made."""
NUM_DRAWS = 10_000

NOTES = (
    f"Worth keep: the keep at which {DEFAULT_BASELINE} reaches as much, linear between those that were run.",
    (
        "A keep's interval is bootstrapped over the seeds. It holds the middle 95 % of the draws. With few seeds it is "
        "rough, and rather too narrow."
    ),
)
"""What a reader of `curves_table` must know."""

Scores = Mapping[float, Mapping[int, float]]
"""Of each keep, what each seed reached. Higher is better."""


@dataclass(frozen=True)
class KeepEstimate:
    """A keep that is estimated, with an interval.

    Args:
        keep: The estimate; infinite where even full training is too little.
        low: Where its interval begins.
        high: Where its interval ends.
        least: The smallest keep that was run: below it nothing is known.
        num_seeds: Seeds; one has no interval.
    """

    keep: float
    low: float
    high: float
    least: float
    num_seeds: int

    def __str__(self) -> str:
        """Return it in words.

        Example:
            >>> str(KeepEstimate(0.476, 0.1, math.inf, least=0.1, num_seeds=3))
            '0.48 [≤ 0.1, > 1]'
        """
        return f"{self.short} [{self._said(self.low)}, {self._said(self.high)}]" if self.num_seeds > 1 else self.short

    @property
    def short(self) -> str:
        """It without its interval."""
        return self._said(self.keep)

    def _said(self, keep: float) -> str:
        if keep > 1:
            return "> 1"
        return f"≤ {self.least:g}" if keep <= self.least else f"{keep:.2f}"


@dataclass(frozen=True)
class Curves:
    """What methods reach at several keeps.

    Args:
        metric: What is reached.
        scores: Of each method but full training.
        full: What each seed of full training reached.
        margin: A loss that is too small to matter.
    """

    metric: Metric
    scores: Mapping[str, Scores]
    full: Mapping[int, float]
    margin: float

    @property
    def methods(self) -> list[str]:
        """Those with a curve: they have every keep that random permutation has, on seeds that full training has."""
        return [method for method in self.scores if self.scores[method].keys() == self.keeps and self._seeds(method)]

    @property
    def keeps(self) -> frozenset[float]:
        """The keeps of random permutation."""
        return frozenset(self.scores[DEFAULT_BASELINE])

    def reached(self, method: str, keep: float) -> Estimate:
        """Return what a method reaches at a keep, in the metric's own direction."""
        return self._interval(self.scores[method][keep])

    @property
    def full_reached(self) -> Estimate:
        """What full training reaches."""
        return self._interval(self.full)

    def _interval(self, by_seed: Mapping[int, float]) -> Estimate:
        return mean_interval(list(by_seed.values())).scaled(self.metric.better)

    def loses_nothing_from(self, method: str) -> KeepEstimate:
        """Return the keep from which on a method that has a curve stays within the margin of full training."""
        seeds = self._seeds(method)
        keeps, drawn = self._drawn(method, seeds)
        return _estimate(lowest_keeps(keeps, drawn, self.margin), keeps, seeds)

    def enough_from(self, method: str) -> str:
        """Say from which keep on a method with a curve loses nothing; none is named above the largest that was run."""
        found, largest = self.loses_nothing_from(method), max(self.keeps)
        return str(found) if found.keep <= largest else f"> {largest:g}"

    def worth(self, method: str, keep: float) -> KeepEstimate | None:
        """Return the keep at which random permutation reaches what a method does at its own; None without a seed."""
        own = self.scores[method][keep]
        seeds = [seed for seed in self._seeds(DEFAULT_BASELINE) if seed in own]
        if not seeds:
            return None
        keeps, drawn = self._drawn(DEFAULT_BASELINE, seeds)
        reached = _means([own[seed] for seed in seeds])
        return _estimate(equivalent_keeps(keeps, drawn, reached), keeps, seeds)

    def _seeds(self, method: str) -> list[int]:
        """Return the seeds that a method has at each of its keeps, and full training too."""
        return sorted(set(self.full).intersection(*self.scores[method].values()))

    def _drawn(self, method: str, seeds: Sequence[int]) -> tuple[Floats, Floats]:
        """Return the (P,) keeps of a curve up to full training, and (D, P) its means in each draw of the seeds."""
        keeps = sorted(self.scores[method])
        reached = [[self.scores[method][keep][seed] for keep in keeps] + [self.full[seed]] for seed in seeds]
        return np.array([*keeps, 1.0]), _means(reached)


def curves_of(results: Iterable[RunRecord], *, margin: float | None = None) -> Curves | None:
    """Return the curves of runs that differ in nothing but method, keep and seed.

    Args:
        results: Of finished runs.
        margin: A loss that is too small to matter; None for the metric's own.

    Returns:
        The curves. None without full training, without random permutation, or with less than two keeps of it.
    """
    scores: dict[str, dict[float, dict[int, float]]] = {}
    metric = metric_of("accuracy")
    for result in results:
        metric = metric_of(result.get("metric", "accuracy"))
        own = scores.setdefault(result.method, {}).setdefault(result.settings.cost.keep, {})
        own.setdefault(result.seed, metric.better * outcome(result))
    full = scores.pop(FULL, {}).get(1.0, {})
    if not full or len(scores.get(DEFAULT_BASELINE, {})) < 2:
        return None
    return Curves(metric, scores, full, metric.margin if margin is None else margin)


def curves_table(curves: Curves) -> Table:
    """Return a row for each method and keep: what is reached, and what that is worth."""
    digits = curves.metric.digits
    rows: list[list[object]] = []
    for method, by_keep in curves.scores.items():
        for keep in sorted(by_keep):
            worth = None if method == DEFAULT_BASELINE else curves.worth(method, keep)
            rows.append([method, f"{keep:g}", curves.reached(method, keep), _difference(curves, method, keep), worth])
    rows.append([FULL, "1", curves.full_reached, None, None])
    formats = {"method": "", "keep": "", curves.metric.heading: f".{digits}f", "difference": f"+.{digits}f"}
    return Table.of({**formats, "worth keep": ""}, rows, title="what each keep reaches")


def lowest_keeps(keeps: Floats, scores: Floats, margin: float) -> Floats:
    """Return (D,) the smallest keep from which on each curve stays within a margin of its end.

    Args:
        keeps: (P,) ascending; the last is full training's.
        scores: (D, P) of each curve.
        margin: Of the score.

    Example:
        >>> lowest_keeps(np.array([0.1, 0.5, 1.0]), np.array([[80.0, 90.0, 90.1]]), 0.3).round(3)
        array([0.492])
    """
    bound = scores[:, -1:] - margin
    below = scores < bound - ROUNDING
    left = np.where(below.any(1), len(keeps) - 1 - below[:, ::-1].argmax(1), 0)
    return np.where(below.any(1), _between(keeps, scores, left, bound[:, 0]), keeps[0])


def equivalent_keeps(keeps: Floats, scores: Floats, reached: Floats) -> Floats:
    """Return (D,) the smallest keep at which the running maximum of each curve reaches something; inf if none does.

    Args:
        keeps: (P,) ascending.
        scores: (D, P) of each curve.
        reached: (D,) what is to be reached.

    Example:
        >>> curve = np.array([[80.0, 90.0, 91.0]])
        >>> equivalent_keeps(np.array([0.1, 0.5, 1.0]), curve, np.array([85.0])).round(3)
        array([0.3])
    """
    highest = np.maximum.accumulate(scores, axis=1)
    enough = highest >= reached[:, None] - ROUNDING
    right = enough.argmax(1)
    found = np.where(right == 0, keeps[0], _between(keeps, highest, np.maximum(right - 1, 0), reached))
    return np.where(enough.any(1), found, math.inf)


@cache
def draws(num_seeds: int) -> NDArray[np.int64]:
    """Return (D, S) positions of seeds, drawn with replacement; first each seed once, which is no draw.

    Example:
        >>> draws(2).tolist()
        [[0, 1], [0, 0], [0, 1], [1, 0], [1, 1]]
    """
    if num_seeds <= MOST_SEEDS:
        drawn = np.indices((num_seeds,) * num_seeds).reshape(num_seeds, -1).T
    else:
        drawn = np.random.default_rng(0).integers(num_seeds, size=(NUM_DRAWS, num_seeds))
    return np.concatenate([np.arange(num_seeds)[None], drawn])


def _means(reached: Sequence[float] | Sequence[Sequence[float]]) -> Floats:
    """Return the means in each draw of seeds, (D,) or (D, P), of (S,) or (S, P)."""
    means: Floats = np.array(reached)[draws(len(reached))].mean(1)
    return means


def _estimate(found: Floats, keeps: Floats, seeds: Sequence[int]) -> KeepEstimate:
    """Return the first as the estimate, and the middle 95 % of the rest as its interval."""
    low, high = np.quantile(found[1:], [0.025, 0.975], method="inverted_cdf")
    return KeepEstimate(float(found[0]), float(low), float(high), float(keeps[0]), len(seeds))


def _between(keeps: Floats, scores: Floats, left: NDArray[np.int64], reached: Floats) -> Floats:
    """Return (D,) where each curve reaches something, between the point at `left` and the next."""
    right, rows = np.minimum(left + 1, len(keeps) - 1), np.arange(len(scores))
    low, high = scores[rows, left], scores[rows, right]
    with np.errstate(invalid="ignore", divide="ignore"):  # of curves that the caller leaves out
        share = (reached - low) / (high - low)
    between: Floats = keeps[left] + (keeps[right] - keeps[left]) * share
    return between


def _difference(curves: Curves, method: str, keep: float) -> Estimate | None:
    """Return a method's paired difference to random permutation of the same keep."""
    baseline = curves.scores[DEFAULT_BASELINE].get(keep)
    if method == DEFAULT_BASELINE or baseline is None:
        return None
    found = paired_difference(curves.scores[method][keep], baseline)
    return None if found is None else found.scaled(curves.metric.better)
