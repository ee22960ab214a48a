"""A synthetic training run: a loss depends on the sample and the epoch, and on nothing else."""

import functools
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from emprune.groups import Groups
from emprune.methods.base import Selection, SelectionContext
from emprune.plan import EpochPlan
from emprune.pruner import DataPruner
from emprune.randomness import derive_generator

__all__ = ["SyntheticTask", "asking_for", "loss_at", "run_epochs", "selection_of", "train_epoch"]


@dataclass(frozen=True, kw_only=True)
class SyntheticTask:
    """Random logits, new ones in each epoch, and their cross-entropy with fixed random labels.

    Args:
        num_samples: N.
        num_classes: C.
        constant: Use the same logits for every sample and epoch, so that all losses are equal.
        seed: Determines the labels and the logits.

    Example:
        >>> task = SyntheticTask(num_samples=4)
        >>> losses, logits = task.batch(torch.tensor([3, 1]), epoch=0)
        >>> losses.shape, logits.shape
        (torch.Size([2]), torch.Size([2, 5]))
    """

    num_samples: int
    num_classes: int = 5
    constant: bool = False
    seed: int = 0

    def batch(self, index: Tensor, *, epoch: int) -> tuple[Tensor, Tensor]:
        """Return the (B,) losses and (B, C) logits of the samples at (B,) `index` in an epoch."""
        losses, logits = _whole_epoch(self, 0 if self.constant else epoch)
        return losses[index], logits[index]

    def validation(self, *, epoch: int) -> dict[str, float]:
        """Return what `observe_validation` takes after an epoch: a validation loss that rises, and a training loss."""
        return {"loss": 1 + 0.02 * epoch, "train_loss": 1.0}


@functools.lru_cache(maxsize=64)
def _whole_epoch(task: SyntheticTask, epoch: int) -> tuple[Tensor, Tensor]:
    """The losses and logits of all samples."""
    labels = torch.randint(task.num_classes, (task.num_samples,), generator=derive_generator(task.seed, "labels"))
    rows = 1 if task.constant else task.num_samples
    logits = 2 * torch.randn(rows, task.num_classes, generator=derive_generator(task.seed, "logits", epoch))
    if task.constant:
        labels, logits = torch.zeros_like(labels), logits.expand(task.num_samples, -1)
    return F.cross_entropy(logits, labels, reduction="none"), logits


def loss_at(position: Tensor, epoch: int) -> Tensor:
    """Return a (B,) loss that says which sample it belongs to, and in which epoch it was made."""
    return (position.double() * 0.7 + epoch).sin().float()


def train_epoch(
    pruner: DataPruner, task: SyntheticTask, *, batch_size: int = 8, start: int = 0, stop: int | None = None
) -> None:
    """Observe the current epoch's plan in batches, from its sample `start` up to `stop`, or to its end.

    The epoch's validation loss is handed over too.
    """
    plan = pruner.plan
    pruner.observe_validation(**task.validation(epoch=plan.epoch))
    for first in range(start, len(plan) if stop is None else min(stop, len(plan)), batch_size):
        index = plan.index[first : first + batch_size]
        losses, logits = task.batch(index, epoch=plan.epoch)
        pruner.observe(index, losses, logits)


def run_epochs(
    pruner: DataPruner,
    task: SyntheticTask,
    *,
    batch_size: int = 8,
    multiple_of: int | None = None,
    stop: int | None = None,
) -> list[EpochPlan]:
    """Plan and observe every epoch after the current one, and return the plans.

    Args:
        pruner: The pruner. Its current epoch, if any, counts as done.
        task: Gives the losses and the logits.
        batch_size: Samples per observation.
        multiple_of: The quantum; None for `batch_size`.
        stop: The first epoch that is no longer planned; None for the end of the run.
    """
    plans = []
    for epoch in range(pruner.epoch + 1, pruner.num_epochs if stop is None else stop):
        plans.append(pruner.begin_epoch(epoch, multiple_of=multiple_of or batch_size))
        train_epoch(pruner, task, batch_size=batch_size)
    return plans


def selection_of(pruner: DataPruner, num_kept: int) -> Selection:
    """What the method alone chooses after the observations so far."""
    stats = pruner.stats
    context = SelectionContext(
        stats=stats,
        scores=pruner.method.score(stats) if pruner.method.scores else torch.empty(0),
        seen=torch.ones(stats.num_samples, dtype=torch.bool),
        num_seen=stats.num_samples,
        num_kept=num_kept,
        epoch=pruner.epoch + 1,
        seed=pruner.seed,
        previous=None,
        gap=pruner.gap,
    )
    return pruner.method.select(context)


def asking_for(asked: str, num_samples: int) -> tuple[Tensor, dict[str, Any]]:
    """Return labels of three groups, of 40, 40 and 20 % of the samples, and what a pruner is asked for."""
    labels = torch.arange(num_samples) % 10 // 4
    options: dict[str, dict[str, Any]] = {
        "equal": {"groups": Groups(labels, quota="equal")},
        "floor": {"groups": Groups(labels, quota="free", floor=0.2)},
        "pinned": {"pinned": [3, 5], "groups": labels},
        "weights": {"weights": 1.0 + labels},
        "guard": {"guard": 1},
    }
    return labels, options[asked]
