"""Means, intervals and paired differences over seeds; pure functions of numbers."""

import bisect
import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "FEWEST_SEEDS",
    "Estimate",
    "Floats",
    "differences",
    "holm",
    "mean_band",
    "mean_interval",
    "paired_difference",
    "seeds_for",
]

Floats = NDArray[np.float64]

FEWEST_SEEDS = 5
"""Below this many seeds an interval is wide and shaky, and tables say so."""

ROUNDING = 1e-9
"""Differences of percentages that are equal differ by less: they are rounded, and no accuracy is that fine."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and half the width of its confidence interval.

    Args:
        mean: The mean.
        half_width: Half the interval's width; nan where there is none: for one seed, or equal values on all of them.
        num_seeds: Seeds.
        p_value: Of the two-sided test that the mean is 0; nan where there is none.
    """

    mean: float
    half_width: float
    num_seeds: int
    p_value: float = math.nan

    def __format__(self, spec: str) -> str:
        """Return mean and interval as text, both with as many digits as the spec says, or that all seeds are equal.

        Example:
            >>> f"{Estimate(0.5, 0.1, 3):+.2f}", f"{Estimate(0.5, math.nan, 3):.1f}"
            ('+0.50 ± 0.10', '0.5 (all equal)')
        """
        if not spec:
            return str(self)
        mean = format(self.mean, spec)
        if math.isnan(self.half_width):
            return f"{mean} (all equal)" if self.all_equal else mean
        return f"{mean} ± {format(self.half_width, spec.lstrip('+'))}"

    @property
    def all_equal(self) -> bool:
        """Whether several seeds have one value, which says nothing of how they would spread."""
        return self.num_seeds > 1 and math.isnan(self.half_width)

    @property
    def low(self) -> float:
        """Where the interval begins; nan where there is none."""
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        """Where it ends."""
        return self.mean + self.half_width

    def scaled(self, factor: int) -> "Estimate":
        """Return the estimate times 1 or −1."""
        return dataclasses.replace(self, mean=factor * self.mean)

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside the interval."""
        return abs(self.mean) > self.half_width  # False for nan

    def is_above(self, bound: float) -> bool:
        """Whether the whole interval lies above a bound: at -margin, the test of non-inferiority at half its level."""
        return self.mean - self.half_width > bound  # False for nan

    def is_inside(self, margin: float) -> bool:
        """Whether the whole interval lies between −margin and margin: the test of equivalence at half its level."""
        return abs(self.mean) + self.half_width <= margin  # False for nan


def mean_interval(values: Sequence[float], *, confidence: float = 0.95) -> Estimate:
    """Return the mean, its Student t interval and the p-value of its being 0.

    Values that are all equal, as on a small test set, say nothing of how they would spread: they get neither.

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
    if np.ptp(values) <= ROUNDING * max(1.0, float(np.abs(values).max())):
        return Estimate(mean, math.nan, len(values))
    from scipy.stats import ttest_1samp

    test = ttest_1samp(values, 0)
    interval = test.confidence_interval(confidence)
    return Estimate(mean, float(interval.high - interval.low) / 2, len(values), float(test.pvalue))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values adjusted for their number (Holm 1979); nan stays nan and does not count.

    Example:
        >>> holm([0.01, 0.04, math.nan])
        [0.02, 0.04, nan]
    """
    adjusted: Floats = np.array(p_values, dtype=np.float64)
    order = np.argsort(adjusted)[: np.count_nonzero(~np.isnan(adjusted))]  # nan is last
    multiplied = adjusted[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.maximum.accumulate(multiplied).clip(max=1)
    return [float(p) for p in adjusted]


def paired_difference(
    values: Mapping[int, float], baseline: Mapping[int, float], *, confidence: float = 0.95
) -> Estimate | None:
    """Return the mean difference to a baseline over the seeds both have, and its Student t interval.

    Runs of one seed start from the same weights, so their difference varies less than either.

    Args:
        values: One number for each seed.
        baseline: One number for each seed, too.
        confidence: Of the two-sided interval, in (0, 1).

    Returns:
        The estimate of `values` − `baseline`, or None where they share no seed.
    """
    common = sorted(values.keys() & baseline.keys())
    if not common:
        return None
    return mean_interval([values[seed] - baseline[seed] for seed in common], confidence=confidence)


def differences(values: Mapping[str, Mapping[int, float]], baseline: str) -> dict[str, Estimate | None]:
    """Return each method's mean difference to the baseline, paired by seed; None where there is none to it.

    Args:
        values: Of each method, one number for each seed.
        baseline: The method that differences are taken to.
    """
    others = {method: own for method, own in values.items() if method != baseline and baseline in values}
    return dict.fromkeys(values) | {m: paired_difference(own, values[baseline]) for m, own in others.items()}


def seeds_for(estimate: Estimate, half_width: float, *, confidence: float = 0.95) -> int:
    """Return how many seeds would give an interval of this half width, if they spread as those of an estimate do.

    That is the smallest n with t · s / √n at most the half width: s is their standard deviation, and t Student's
    quantile of n − 1 degrees.

    Args:
        estimate: Of two seeds or more, with an interval of the same confidence.
        half_width: Positive.
        confidence: Of the two-sided interval, in (0, 1).

    Example:
        >>> seeds_for(mean_interval([1.0, 2.0, 3.0]), 0.5)
        18
    """
    from scipy.special import stdtrit

    def factor(num_seeds: int) -> float:
        """Half the interval's width, in standard deviations."""
        return float(stdtrit(num_seeds - 1, (1 + confidence) / 2)) / math.sqrt(num_seeds)

    wanted = half_width / estimate.half_width * factor(estimate.num_seeds)
    most = 2
    while factor(most) > wanted:
        most *= 2
    return bisect.bisect_left(range(most + 1), -wanted, lo=2, key=lambda num_seeds: -factor(num_seeds))


def mean_band(values: Floats, *, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Return the mean over seeds at each of P points, and half the width of its Student t interval.

    Args:
        values: (S, P), a row for each seed; nan where a seed has no value.
        confidence: Of the two-sided interval, in (0, 1).

    Returns:
        (P,) means, nan where no seed has a value, and (P,) half widths, nan where fewer than two have.

    Example:
        >>> mean, half_width = mean_band(np.array([[1.0, 5.0], [2.0, np.nan], [3.0, np.nan]]))
        >>> mean.tolist(), half_width.round(2).tolist()
        ([2.0, 5.0], [2.48, nan])
    """
    from scipy.special import stdtrit

    known = ~np.isnan(values)
    count = known.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(known, values, 0).sum(0) / count
        variance = np.where(known, (values - mean) ** 2, 0).sum(0) / (count - 1)
        half_width = stdtrit(count - 1, (1 + confidence) / 2) * np.sqrt(variance / count)
    return mean, np.where(count > 1, half_width, np.nan)
