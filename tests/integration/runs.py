"""A small training run that every framework must end like the plain loop."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import emprune

NUM_SAMPLES, BATCH_SIZE, NUM_EPOCHS = 50, 4, 5
DATASET = TensorDataset(
    torch.arange(NUM_SAMPLES),
    torch.randn(NUM_SAMPLES, 6, generator=torch.Generator().manual_seed(1)),
    torch.arange(NUM_SAMPLES) % 3,
)
"""Samples that tell their position."""


def make_pruner(method: emprune.Method | None = None, **options: Any) -> emprune.DataPruner:
    """Half of the data in an epoch, all of it in the last, which does not fill its last batch."""
    settings: dict[str, Any] = {"keep": 0.5, "tail_epochs": 1, **options}
    return emprune.DataPruner(method or emprune.EMP(), num_samples=NUM_SAMPLES, num_epochs=NUM_EPOCHS, **settings)


def make_dataloader(**options: Any) -> DataLoader[Any]:
    return DataLoader(DATASET, **{"batch_size": BATCH_SIZE, "shuffle": True, **options})


def make_model() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def make_scheduler(optimizer: torch.optim.Optimizer, total_steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    return torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, total_iters=total_steps)


def identifying(position: Tensor) -> Tensor:
    """A (B,) loss that says which sample it belongs to."""
    return (position.double() * 0.7).sin().float()


def reduce(
    pruner: emprune.DataPruner, model: nn.Module, index: Tensor, batch: Iterable[Tensor], *, identify: bool = False
) -> Tensor:
    """Observe a batch and return its loss; `identify` observes what tells the samples apart instead."""
    position, x, y = batch
    assert index.equal(position.to(index.device))
    logits = model(x)
    losses = F.cross_entropy(logits, y, reduction="none")
    return pruner.reduce(index, losses, logits, score_losses=identifying(position) if identify else None)


@dataclass
class Result:
    """What a run did."""

    weights: list[Tensor] = field(default_factory=list)
    delivered: list[list[int]] = field(default_factory=list)
    plans: list[list[int]] = field(default_factory=list)
    num_steps: int = 0
    learning_rate: float = 0.0

    @property
    def samples(self) -> list[int]:
        """What was delivered, of all epochs."""
        return flat(self.delivered)


def flat(epochs: list[list[int]]) -> list[int]:
    return [sample for epoch in epochs for sample in epoch]


def plain_run(pruner: emprune.DataPruner, *, accumulation: int = 1) -> Result:
    """The loop without a framework."""
    model, result = make_model(), Result()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    loader = emprune.PrunedLoader(make_dataloader(), pruner, accumulation=accumulation)
    scheduler = make_scheduler(optimizer, loader.total_steps)
    for epoch in range(NUM_EPOCHS):
        loader.set_epoch(epoch)
        result.plans.append(pruner.plan.index.tolist())
        result.delivered.append([])
        for number, (index, batch) in enumerate(loader, start=1):
            result.delivered[-1] += index.tolist()
            (reduce(pruner, model, index, batch) / accumulation).backward()
            if number % accumulation == 0 or number == len(loader):
                optimizer.step()
                scheduler.step()
                optimizer.zero_grad()
                result.num_steps += 1
    result.weights = [parameter.detach().clone() for parameter in model.parameters()]
    result.learning_rate = float(scheduler.get_last_lr()[0])
    assert result.num_steps == loader.total_steps
    return result


def assert_same_run(run: Result, expected: Result) -> None:
    """Fail unless both trained on the same batches and ended with the same bits."""
    assert run.plans == expected.plans
    assert run.delivered == expected.delivered
    assert run.num_steps == expected.num_steps
    assert run.learning_rate == expected.learning_rate
    assert len(run.weights) == len(expected.weights)
    assert all(map(torch.equal, run.weights, expected.weights))


def assert_every_loss_is_its_own(pruner: emprune.DataPruner) -> None:
    """Fail if a run with `identify` credited any sample with another one's loss, or left one out."""
    pruner.sync()
    assert bool(pruner.stats.seen.all())
    assert pruner.stats["loss"].equal(identifying(torch.arange(NUM_SAMPLES)))
