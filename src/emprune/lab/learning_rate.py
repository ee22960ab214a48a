"""The learning rate as a function of how far the run has come: no state, so nothing to save or to get wrong."""

import math

__all__ = ["one_cycle"]

UP_FRACTION = 0.3
START_DIVISOR = 25
END_DIVISOR = 25 * 1e4


def one_cycle(progress: float) -> float:
    """Return the learning rate as a fraction of its maximum (Smith & Topin 2018; torch's OneCycleLR, cosine).

    Rises from 1/25 to 1 over the first 30 % of the run and falls to 1/250,000 at its end.

    Args:
        progress: Optimizer steps done over the run's planned steps less one, in [0, 1].

    Example:
        >>> one_cycle(0.0), one_cycle(0.3)
        (0.04, 1.0)
    """
    if progress < UP_FRACTION:
        return _cosine(1 / START_DIVISOR, 1.0, progress / UP_FRACTION)
    return _cosine(1.0, 1 / END_DIVISOR, min(1.0, (progress - UP_FRACTION) / (1 - UP_FRACTION)))


def _cosine(start: float, end: float, fraction: float) -> float:
    return start + (end - start) / 2 * (1 - math.cos(math.pi * fraction))
