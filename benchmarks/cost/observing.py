"""What `reduce` costs above the bare mean of the losses."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.cost.run import BATCH_SIZE, NUM_CLASSES, Run
from benchmarks.cost.timing import seconds, spread

__all__ = ["measure"]

_WARM_UP = 100


def measure(*, method: str, num_samples: int, repeats: int) -> dict[str, Any]:
    """Time `reduce` and `losses.mean()` in turn, on batches of the plan and losses with a graph.

    Args:
        method: A method and its options.
        num_samples: N.
        repeats: Batches, planning the next epoch where one runs out.
    """
    run = Run(method, num_samples)
    logits = torch.randn(BATCH_SIZE, NUM_CLASSES, requires_grad=True) * 3
    losses = F.cross_entropy(logits, torch.randint(NUM_CLASSES, (BATCH_SIZE,)), reduction="none")
    batches = _batches(run)
    above, mean = [], []
    for _ in range(_WARM_UP + repeats):
        batch = next(batches)
        with_engine = seconds(lambda batch=batch: run.pruner.reduce(batch, losses, logits))  # type: ignore[misc]
        mean.append(seconds(losses.mean))
        above.append(with_engine - mean[-1])
    return {"above": spread(above[_WARM_UP:]), "mean": spread(mean[_WARM_UP:])}


def _batches(run: Run) -> Iterator[Tensor]:
    """Whole batches as a loader delivers them, epoch after epoch."""
    while True:
        for batch in run.plan().index.split(BATCH_SIZE):
            if len(batch) == BATCH_SIZE:
                yield batch
