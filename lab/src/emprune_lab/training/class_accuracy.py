"""Accuracy class by class: a mean can hide a class that a method gave up."""

from torch import Tensor

__all__ = ["class_accuracy"]


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
