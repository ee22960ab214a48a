"""Small runs for the delivery tests."""

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

import emprune
from emprune.data.planned import PlannedLoader
from tests.data.datasets import Positions


def make_pruner(num_samples: int = 22, *, num_epochs: int = 4, **options: Any) -> emprune.DataPruner:
    settings: dict[str, Any] = {"keep": 0.5, "tail_epochs": 1, **options}
    return emprune.DataPruner(emprune.Greedy(), num_samples=num_samples, num_epochs=num_epochs, **settings)


def make_loader(pruner: emprune.DataPruner, dataset: Any = None, **options: Any) -> emprune.PrunedLoader:
    dataset = Positions(pruner.num_samples) if dataset is None else dataset
    return emprune.PrunedLoader(DataLoader(dataset, **{"batch_size": 4, **options}), pruner)


def loss_of(position: Tensor) -> Tensor:
    """A (B,) loss that says which sample it belongs to."""
    return (position.double() * 0.7).sin().float()


def assert_every_loss_is_its_own(pruner: emprune.DataPruner) -> None:
    """Fail if any sample remembers another one's loss."""
    pruner.sync()
    seen = pruner.stats.seen
    assert bool(seen.any())
    assert pruner.stats["loss"][seen].equal(loss_of(torch.arange(pruner.num_samples))[seen])


def train(pruner: emprune.DataPruner, loader: PlannedLoader) -> list[int]:
    """Observe an epoch whose batches are positions; return the indices in the order of delivery."""
    delivered: list[int] = []
    for index, batch in loader:
        position = batch if isinstance(batch, Tensor) else batch[0]
        assert index.dtype == torch.int64
        assert index.equal(position)
        pruner.reduce(index, loss_of(position))
        delivered += index.tolist()
    return delivered
