"""Small things that many tests of the engine need."""

from typing import Any

import torch
from torch import Tensor

import emprune

nan, inf = float("nan"), float("inf")


def as_memory(outputs: Tensor) -> Tensor:
    """A memory term that takes the outputs, (B,), as they are."""
    return outputs


def make_pruner(
    method: emprune.Method | None = None,
    *,
    num_samples: int = 10,
    num_epochs: int = 4,
    keep: float = 0.5,
    seed: int = 0,
    nonfinite: Any = "error",
) -> emprune.DataPruner:
    """A pruner around `method`, greedy by default, with neither warm-up nor tail."""
    return emprune.DataPruner(
        method or emprune.Greedy(),
        num_samples=num_samples,
        num_epochs=num_epochs,
        keep=keep,
        seed=seed,
        tail_epochs=0,
        nonfinite=nonfinite,
    )


def after_full_epoch(
    method: emprune.Method,
    losses: Tensor,
    outputs: Tensor | None = None,
    *,
    num_kept: int,
    later: int = 1,
    seed: int = 0,
) -> emprune.DataPruner:
    """A pruner that saw all samples in epoch 0; each of its `later` epochs keeps `num_kept` of them."""
    num_samples = len(losses)
    budget = num_samples + later * num_kept
    pruner = emprune.DataPruner(
        method,
        num_samples=num_samples,
        num_epochs=1 + later,
        keep=budget / num_samples / (1 + later),
        warmup_epochs=1,
        tail_epochs=0,
        seed=seed,
    )
    pruner.begin_epoch(0)
    observe(pruner, losses, outputs)
    return pruner


def observe(pruner: emprune.DataPruner, losses: Tensor, outputs: Tensor | None = None) -> None:
    """Observe all of the current plan, given the (N,) losses and (N, ...) outputs of all samples."""
    index = pruner.plan.index
    pruner.observe(index, losses[index], None if outputs is None else outputs[index])


def chosen(plan: emprune.EpochPlan) -> set[int]:
    """The samples of a plan."""
    return set(plan.index.tolist())


def weights_of(plan: emprune.EpochPlan) -> dict[int, float]:
    """Each planned sample's weight."""
    assert plan.weight is not None
    return dict(zip(plan.index.tolist(), plan.weight.tolist(), strict=True))


def context_of(
    scores: Tensor,
    num_kept: int,
    *,
    epoch: int = 1,
    seed: int = 0,
    previous: Tensor | None = None,
    gap: float | None = None,
) -> emprune.methods.SelectionContext:
    """What a method is given where all samples have been seen with these (N,) scores."""
    return emprune.methods.SelectionContext(
        stats=emprune.methods.SampleStats(len(scores), ()),
        scores=scores,
        seen=torch.ones(len(scores), dtype=torch.bool),
        num_seen=len(scores),
        num_kept=num_kept,
        epoch=epoch,
        seed=seed,
        previous=previous,
        gap=gap,
    )
