"""Planning an epoch, next to one bare `torch.topk` of that size."""

from typing import Any

import torch

from benchmarks.cost.run import Run
from benchmarks.cost.timing import seconds, spread

__all__ = ["measure"]


def measure(*, method: str, num_samples: int, repeats: int) -> dict[str, Any]:
    """Time `begin_epoch` once all samples have been seen; `topk` in between, on scores of its own.

    Args:
        method: A method and its options.
        num_samples: N.
        repeats: Epochs that are timed.
    """
    run = Run(method, num_samples)
    run.warm_up()
    planning, top_k, top_k_unsorted = [], [], []
    for _ in range(repeats):
        planning.append(seconds(run.plan))
        num_kept = len(run.pruner.plan)
        scores = torch.rand(num_samples)
        top_k.append(seconds(lambda scores=scores, k=num_kept: torch.topk(scores, k)))  # type: ignore[misc]
        top_k_unsorted.append(seconds(lambda scores=scores, k=num_kept: torch.topk(scores, k, sorted=False)))  # type: ignore[misc]
        del scores
        run.observe()
    return {
        "num_kept": num_kept,
        "planning": spread(planning),
        "top_k": spread(top_k),
        "top_k_unsorted": spread(top_k_unsorted),
    }
