"""The difference that having seen a sample makes, estimated from runs on random subsets; pure functions of arrays."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Gaps", "estimate"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Gaps:
    """What having seen a sample makes of a number that was measured on it.

    Args:
        per_sample: (N,) the mean of the runs that saw it minus that of those that did not; nan where either are none.
        per_run: (m,) within a run, the mean over what it saw minus that over what it did not.
    """

    per_sample: Floats
    per_run: Floats

    @property
    def estimated(self) -> Floats:
        """The samples for which there is an estimate."""
        return self.per_sample[~np.isnan(self.per_sample)]

    def scaled(self, divisor: float) -> "Gaps":
        """Return all of it divided by a number."""
        return Gaps(self.per_sample / divisor, self.per_run / divisor)


def estimate(values: Floats, seen: NDArray[np.bool_]) -> Gaps:
    """Return the gaps.

    Args:
        values: (m, N) what was measured on each sample after each of m runs.
        seen: (m, N) whether the sample was in the run's training set; in each run some, and not all.

    Example:
        >>> gaps = estimate(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[True, False], [False, True]]))
        >>> gaps.per_sample.tolist(), gaps.per_run.tolist()
        ([1.0, 1.0], [1.0, 1.0])
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        per_sample = _mean(values, seen, axis=0) - _mean(values, ~seen, axis=0)
    return Gaps(per_sample, _mean(values, seen, axis=1) - _mean(values, ~seen, axis=1))


def _mean(values: Floats, among: NDArray[np.bool_], *, axis: int) -> Floats:
    mean: Floats = (values * among).sum(axis) / among.sum(axis)
    return mean
