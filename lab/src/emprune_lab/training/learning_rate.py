"""The learning rate as a function of how far the run has come: no state, so nothing to save or to get wrong."""

import math
from collections.abc import Callable

__all__ = ["SCHEDULES", "cosine", "one_cycle"]

UP_FRACTION = 0.3
START_DIVISOR = 25
END_DIVISOR = 25 * 1e4
WARM_UP_FRACTION = 0.1


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


def cosine(progress: float) -> float:
    """Return the learning rate as a fraction of its maximum: linear warm-up, then half a cosine (SimCLR's schedule).

    Rises from 0 to 1 over the first tenth of the run, as SimCLR's over 10 of 100 epochs, and falls to 0 at its end.

    Args:
        progress: As `one_cycle` has it.

    Example:
        >>> cosine(0.05), cosine(0.1), cosine(1.0)
        (0.5, 1.0, 0.0)
    """
    if progress < WARM_UP_FRACTION:
        return progress / WARM_UP_FRACTION
    return _cosine(1.0, 0.0, min(1.0, (progress - WARM_UP_FRACTION) / (1 - WARM_UP_FRACTION)))


SCHEDULES: dict[str, Callable[[float], float]] = {"one-cycle": one_cycle, "cosine": cosine}
"""By what a run's `schedule` calls them."""


def _cosine(start: float, end: float, fraction: float) -> float:
    return start + (end - start) / 2 * (1 - math.cos(math.pi * fraction))
