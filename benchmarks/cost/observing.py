"""What `reduce` costs above the bare mean of the losses."""

import statistics
from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.cost.run import BATCH_SIZE, NUM_CLASSES, Run
from benchmarks.cost.timing import seconds, spread

__all__ = ["measure"]

_WARM_UP = 100
_ROUND = 1000


def measure(*, method: str, num_samples: int, rounds: int, device: str = "cpu") -> dict[str, Any]:
    """Time `reduce` and `losses.mean()` in turn, on batches of the plan and losses with a graph.

    What is put off is done at every 64th batch or so, so a round's mean counts, not its median. Other work on the
    machine can only add to it: as with `timeit`, the least of the rounds is nearest to what the code costs.

    Args:
        method: A method and its options.
        num_samples: N.
        device: Where the losses and logits are; the index stays on the CPU. No GPU is waited for.
        rounds: Of 1,000 batches each, planning the next epoch where one runs out.

    Returns:
        Of the rounds' mean seconds per batch, `reduce` less the mean and the mean alone, their spread.
    """
    run = Run(method, num_samples, device=device)
    logits = torch.randn(BATCH_SIZE, NUM_CLASSES, requires_grad=True, device=device) * 3
    losses = F.cross_entropy(logits, torch.randint(NUM_CLASSES, (BATCH_SIZE,), device=device), reduction="none")
    batches = _batches(run)
    for batch in islice(batches, _WARM_UP):
        run.pruner.reduce(batch, losses, logits)
    above, mean = [], []
    for _ in range(rounds):
        times = [
            (seconds(lambda batch=batch: run.pruner.reduce(batch, losses, logits)), seconds(losses.mean))  # type: ignore[misc]
            for batch in islice(batches, _ROUND)
        ]
        ours, bare = (statistics.fmean(column) for column in zip(*times, strict=True))
        mean.append(bare)
        above.append(ours - bare)
    return {"above": spread(above), "mean": spread(mean)}


def _batches(run: Run) -> Iterator[Tensor]:
    """Whole batches as a loader delivers them, epoch after epoch."""
    while True:
        for batch in run.plan().index.split(BATCH_SIZE):
            if len(batch) == BATCH_SIZE:
                yield batch
