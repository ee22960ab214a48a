"""How the visits of a run are spread over its samples; pure functions of how often each was visited."""

import torch
from torch import Tensor

from emprune.summary import gini

__all__ = ["gini", "histogram", "lorenz"]

NUM_POINTS = 200


def histogram(visits: Tensor) -> list[int]:
    """Return how many samples were visited 0, 1, 2, ... times, up to the most visited one's.

    Args:
        visits: (N,) integers, 0 or more.

    Example:
        >>> histogram(torch.tensor([0, 2, 2, 3]))
        [1, 0, 2, 1]
    """
    counts: list[int] = torch.bincount(visits).tolist()
    return counts


def lorenz(visits: Tensor, *, num_points: int = NUM_POINTS) -> tuple[list[float], list[float]]:
    """Return the Lorenz curve: which share of the visits the least visited share of the samples has.

    The Gini coefficient is twice the area between it and the diagonal, on which all samples are visited equally often.

    Args:
        visits: (N,) integers, 0 or more; at least one sample.
        num_points: Points of the curve, its ends (0, 0) and (1, 1) among them; fewer where there are fewer samples.

    Returns:
        The shares of the samples, ascending, and those of the visits, each in [0, 1]. Without a visit, the diagonal.

    Example:
        >>> lorenz(torch.tensor([4, 0, 0, 0]))
        ([0.0, 0.25, 0.5, 0.75, 1.0], [0.0, 0.0, 0.0, 0.0, 1.0])
    """
    num_samples, total = len(visits), int(visits.sum())
    places = torch.linspace(0, num_samples, min(num_points, num_samples + 1), dtype=torch.float64).round().long()
    samples = places.double() / num_samples
    if total == 0:
        return samples.tolist(), samples.tolist()
    held = torch.cat([torch.zeros(1, dtype=torch.int64), visits.long().sort().values.cumsum(0)])
    return samples.tolist(), (held[places].double() / total).tolist()
