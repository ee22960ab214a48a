"""An epoch of the loaders against a plain DataLoader that draws equally many samples from the same dataset."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler

from benchmarks.cost.run import BATCH_SIZE, KEEP
from benchmarks.cost.timing import seconds, spread
from emprune import ArrayLoader, DataPruner, PrunedLoader, Random

__all__ = ["measure"]

_NUM_EPOCHS = 1000


class Pairs(Dataset[tuple[Tensor, int]]):
    """(8 floats, a label) per sample, from memory: what most tabular and feature datasets look like."""

    def __init__(self, num_samples: int, device: str = "cpu") -> None:
        self.inputs = torch.zeros(num_samples, 8, device=device)
        self.labels = torch.zeros(num_samples, dtype=torch.int64, device=device)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.inputs[index], int(self.labels[index])


class Positions(Dataset[int]):
    """Nothing but the position: the cheapest dataset there can be, and so the hardest on a loader's overhead."""

    def __init__(self, num_samples: int) -> None:
        self.num_samples = num_samples

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, index: int) -> int:
        return index


_DATASETS: dict[str, Callable[[int], Dataset[Any]]] = {"pairs": Pairs, "positions": Positions}


def measure(*, dataset: str, num_samples: int, workers: int, repeats: int, device: str = "cpu") -> dict[str, Any]:
    """Time whole epochs, planning included, of both loaders in turn.

    Args:
        dataset: "pairs", "positions", or "arrays" for ArrayLoader, against a DataLoader over "pairs".
        num_samples: N; an epoch is `KEEP` of it.
        workers: The DataLoaders' worker processes.
        repeats: Epochs of each.
        device: Where the arrays are, of `ArrayLoader` and of the loop by hand.
    """
    pruner = DataPruner(Random(), num_samples=num_samples, num_epochs=_NUM_EPOCHS, keep=KEEP)
    make = _DATASETS.get(dataset, Pairs)
    loader: PrunedLoader | ArrayLoader
    if dataset == "arrays":
        whole = Pairs(num_samples, device)
        loader = ArrayLoader((whole.inputs, whole.labels), pruner, batch_size=BATCH_SIZE)
    else:
        loader = PrunedLoader(_plain(make(num_samples), workers), pruner)
    pruned, plain, by_hand = [], [], []
    for epoch in range(repeats):
        pruned.append(seconds(lambda epoch=epoch: _epoch(loader, epoch), device=device))  # type: ignore[misc]
        part = make(num_samples)
        rival = _plain(part, workers, num_kept=len(pruner.plan))
        plain.append(seconds(lambda rival=rival: _drain(rival)))  # type: ignore[misc]
        if isinstance(part, Pairs):
            part, num_kept = Pairs(num_samples, device), len(pruner.plan)
            by_hand.append(seconds(lambda part=part, k=num_kept: _drain(_by_hand(part, k)), device=device))  # type: ignore[misc]
    return {
        "num_kept": len(pruner.plan),
        "pruned": spread(pruned),
        "plain": spread(plain),
        "by_hand": spread(by_hand) if by_hand else None,
    }


def _plain(dataset: Dataset[Any], workers: int, *, num_kept: int | None = None) -> DataLoader[Any]:
    sampler = RandomSampler(dataset, num_samples=num_kept)  # type: ignore[arg-type]
    return DataLoader(dataset, batch_size=BATCH_SIZE, sampler=sampler, num_workers=workers)


def _epoch(loader: PrunedLoader | ArrayLoader, epoch: int) -> None:
    loader.set_epoch(epoch)
    _drain(loader)


def _drain(batches: Iterable[Any]) -> None:
    for _ in batches:
        pass


def _by_hand(dataset: Pairs, num_kept: int) -> Iterator[tuple[Tensor, Tensor]]:
    """A shuffled epoch as one would write it for arrays in memory."""
    for chosen in torch.randperm(len(dataset), device=dataset.labels.device)[:num_kept].split(BATCH_SIZE):
        yield dataset.inputs[chosen], dataset.labels[chosen]
