"""What predictions count at the end: scikit-learn's metrics by the names that tables show, and accuracy by class."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["METRICS", "class_accuracy", "score"]

METRICS = {"accuracy": "accuracy_score", "F1": "f1_score", "Matthews": "matthews_corrcoef"}
"""Of scikit-learn, by the names that tables show."""


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
    from sklearn import metrics  # takes a second, which a run on images needs not wait

    return 100 * float(getattr(metrics, METRICS[metric])(labels, predicted))


def class_accuracy(predicted: Tensor, y: Tensor, *, num_classes: int) -> list[float | None]:
    """Return for each class how many of its samples were named right, in per cent; None for a class without samples.

    Args:
        predicted: (M,) int64 classes.
        y: (M,) int64, the true ones, on the same device.
        num_classes: C.

    Example:
        >>> import torch
        >>> class_accuracy(torch.tensor([0, 1, 1, 1]), torch.tensor([0, 0, 1, 1]), num_classes=3)
        [50.0, 100.0, None]
    """
    sizes = y.bincount(minlength=num_classes).tolist()
    right = y[predicted == y].bincount(minlength=num_classes).tolist()
    return [100 * own / size if size else None for own, size in zip(right, sizes, strict=True)]
