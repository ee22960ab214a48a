"""What `reduce` costs above the bare mean of the losses."""

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
        repeats: Batches.
    """
    run = Run(method, num_samples)
    index = run.plan().index
    batches = [batch for batch in index.split(BATCH_SIZE) if len(batch) == BATCH_SIZE]
    logits = torch.randn(BATCH_SIZE, NUM_CLASSES, requires_grad=True) * 3
    losses = F.cross_entropy(logits, torch.randint(NUM_CLASSES, (BATCH_SIZE,)), reduction="none")

    def reduce(batch: Tensor) -> None:
        run.pruner.reduce(batch, losses, logits)

    above, mean = [], []
    for number in range(_WARM_UP + repeats):
        batch = batches[number % len(batches)]
        with_engine = seconds(lambda batch=batch: reduce(batch))  # type: ignore[misc]
        without = seconds(losses.mean)
        above.append(with_engine - without)
        mean.append(without)
    return {"above": spread(above[_WARM_UP:]), "mean": spread(mean[_WARM_UP:])}
