"""What counts at the end of a run on texts: scikit-learn's metrics, by the names that tables show."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

__all__ = ["METRICS", "score"]

METRICS: dict[str, Callable[[Any, Any], float]] = {
    "accuracy": accuracy_score,
    "F1": f1_score,
    "Matthews": matthews_corrcoef,
}


def score(metric: str, labels: NDArray[np.int64], predicted: NDArray[np.int64]) -> float:
    """Return a metric in points, 100 being perfect.

    Args:
        metric: One of `METRICS`.
        labels: (N,) classes.
        predicted: (N,) classes.

    Example:
        >>> score("accuracy", np.array([0, 1, 1]), np.array([0, 1, 1]))
        100.0
    """
    return 100 * float(METRICS[metric](labels, predicted))
