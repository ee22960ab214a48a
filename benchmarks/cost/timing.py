"""Times as they are reported."""

import statistics
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import torch

__all__ = ["seconds", "spread"]


def seconds(work: Callable[[], object], *, device: str = "cpu") -> float:
    """Time one call; on a GPU from when it has nothing to do until it has again."""
    _wait_for(device)
    start = perf_counter()
    work()
    _wait_for(device)
    return perf_counter() - start


def _wait_for(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)


def spread(times: Sequence[float]) -> dict[str, Any]:
    """Median, mean, extremes and number of repeated measurements, in seconds."""
    middle = {"median": statistics.median(times), "mean": statistics.fmean(times)}
    return {**middle, "min": min(times), "max": max(times), "repeats": len(times)}
