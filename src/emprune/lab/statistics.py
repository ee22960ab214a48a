"""Means, intervals and paired differences over seeds; pure functions of numbers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["FEWEST_SEEDS", "Estimate", "mean_interval", "paired_difference"]

FEWEST_SEEDS = 5
"""Below this many seeds an interval is wide and shaky, and tables say so."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and half the width of its confidence interval (nan for a single seed)."""

    mean: float
    half_width: float
    num_seeds: int

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside the interval."""
        return abs(self.mean) > self.half_width  # False for nan


def mean_interval(values: Sequence[float], *, confidence: float = 0.95) -> Estimate:
    """Return the mean and its Student t interval.

    Args:
        values: One number per seed, at least one.
        confidence: Of the two-sided interval, in (0, 1).

    Raises:
        ValueError: If there are no values.

    Example:
        >>> estimate = mean_interval([1.0, 2.0, 3.0])
        >>> round(estimate.mean, 2), round(estimate.half_width, 2)
        (2.0, 2.48)
    """
    if len(values) == 0:
        raise ValueError("`values` is empty: there is no mean of nothing.")
    mean = float(np.mean(values))
    if len(values) == 1:
        return Estimate(mean, math.nan, 1)
    from scipy.stats import t

    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return Estimate(mean, float(t.ppf((1 + confidence) / 2, len(values) - 1)) * error, len(values))


def paired_difference(
    values: Mapping[int, float], baseline: Mapping[int, float], *, confidence: float = 0.95
) -> Estimate | None:
    """Return the mean difference to a baseline over the seeds both have, and its Student t interval.

    Runs of one seed start from the same weights, so their difference varies less than either.

    Args:
        values: One number for each seed.
        baseline: Likewise.
        confidence: Of the two-sided interval, in (0, 1).

    Returns:
        The estimate of `values` − `baseline`, or None where they share no seed.
    """
    common = sorted(values.keys() & baseline.keys())
    if not common:
        return None
    return mean_interval([values[seed] - baseline[seed] for seed in common], confidence=confidence)
