"""Times as they are reported."""

import statistics
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

__all__ = ["seconds", "spread"]


def seconds(work: Callable[[], object]) -> float:
    """Time one call."""
    start = perf_counter()
    work()
    return perf_counter() - start


def spread(times: Sequence[float]) -> dict[str, Any]:
    """Median, mean, extremes and number of repeated measurements, in seconds."""
    middle = {"median": statistics.median(times), "mean": statistics.fmean(times)}
    return {**middle, "min": min(times), "max": max(times), "repeats": len(times)}
