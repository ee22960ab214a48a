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
    """Median, extremes and number of repeated measurements, in seconds."""
    return {"median": statistics.median(times), "min": min(times), "max": max(times), "repeats": len(times)}
