"""Memory above the start, at its highest, in a process that does nothing else."""

import resource
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.cost.run import KEEP, Run

__all__ = ["measure", "peak", "resident"]

_STEADY_EPOCHS = 3


def measure(*, method: str, num_samples: int, full: bool) -> dict[str, Any]:
    """Plan and observe until all samples have been seen and a few epochs more; report the highest resident memory.

    Args:
        method: A method and its options.
        num_samples: N.
        full: Observe all the data and plan once after that, as a warm-up epoch does.
    """
    _touch_the_machinery(method)
    start = resident()
    if full:
        run = Run(method, num_samples, keep=1.0)
        run.plan()
        run.observe()
        observed = peak()
        run.plan()
    else:
        run = Run(method, num_samples)
        run.warm_up()
        for _ in range(_STEADY_EPOCHS):
            run.plan()
            run.observe()
        observed = resident()
        run.plan()
    highest = peak() - start
    return {
        "peak_bytes": highest,
        "peak_bytes_per_sample": highest / num_samples,
        "observed_bytes_per_sample": (observed - start) / num_samples,
        "column_bytes_per_sample": run.pruner.stats.bytes_per_sample,
        "keep": 1.0 if full else KEEP,
    }


def _touch_the_machinery(method: str) -> None:
    """Have the threads, the generators and the code pages of a small run in memory before the start."""
    run = Run(method, 20_000)
    run.warm_up()
    run.plan()
    torch.rand(100_000).add_(1)


def peak() -> int:
    """Bytes resident at the highest so far."""
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def resident() -> int:
    """Bytes resident now; where the system does not tell, the highest so far."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return peak()
    return pages * resource.getpagesize()
