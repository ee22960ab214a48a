"""Planning an epoch, next to one bare `torch.topk` of that size."""

from functools import partial
from typing import Any

import torch

from benchmarks.cost.run import Run
from benchmarks.cost.timing import seconds, spread

__all__ = ["measure"]


def measure(*, method: str, num_samples: int, repeats: int, device: str = "cpu") -> dict[str, Any]:
    """Time `begin_epoch` once all samples have been seen; `topk` in between, on scores of its own.

    Plans are made on the CPU. With a GPU as the device, what was observed comes from there, and `topk` runs there.

    Args:
        method: A method and its options.
        num_samples: N.
        repeats: Epochs that are timed.
        device: Where the losses and logits are, and the scores of `topk`.
    """
    run = Run(method, num_samples, device=device)
    run.warm_up()
    planning, top_k, top_k_unsorted = [], [], []
    for _ in range(repeats):
        planning.append(seconds(run.plan, device=device))
        num_kept = len(run.pruner.plan)
        scores = torch.rand(num_samples, device=device)
        top_k.append(seconds(partial(torch.topk, scores, num_kept), device=device))
        top_k_unsorted.append(seconds(partial(torch.topk, scores, num_kept, sorted=False), device=device))
        del scores
        run.observe()
    return {
        "num_kept": num_kept,
        "planning": spread(planning),
        "top_k": spread(top_k),
        "top_k_unsorted": spread(top_k_unsorted),
    }
