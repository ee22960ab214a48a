"""What short epochs cost with workers that start anew in each, and with workers that persist.

python benchmarks/workers.py
"""

import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import emprune

NUM_SAMPLES, BATCH_SIZE, KEEP, NUM_EPOCHS, NUM_ROUNDS, NUM_WORKERS = 2_560, 32, 0.3, 5, 3, 2


class Images(Dataset[Any]):
    """Samples of 3 × 32 × 32 that take a little work each: a flip and a change of scale."""

    def __init__(self, size: int) -> None:
        self.x = torch.randint(0, 256, (size, 3, 32, 32), dtype=torch.uint8)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> Tensor:
        image = self.x[index].float().div_(255)
        return image.flip(-1) if torch.rand(()) < 0.5 else image


def milliseconds_per_batch(dataset: Dataset[Any], *, persistent: bool) -> float:
    """Return the time of a run's epochs, the first left out, by their batches."""
    dataloader = DataLoader(
        dataset, batch_size=BATCH_SIZE, shuffle=True, num_workers=NUM_WORKERS, persistent_workers=persistent
    )
    loader = emprune.PrunedLoader(dataloader, "random-permutation", num_epochs=NUM_EPOCHS + 1, keep=KEEP)
    started, batches = 0.0, 0
    for epoch in loader.epochs():
        if epoch == 1:
            started = time.perf_counter()
        for index, _ in loader:
            loader.reduce(index, torch.ones(len(index)))
            batches += epoch > 0
    return 1000 * (time.perf_counter() - started) / batches


def shown(values: Sequence[float]) -> str:
    """Return the median and the range."""
    return f"{statistics.median(values):.1f} ms ({min(values):.1f} to {max(values):.1f})"


if __name__ == "__main__":
    images = Images(NUM_SAMPLES)
    found: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(NUM_ROUNDS):
        for persistent, values in found.items():
            values.append(milliseconds_per_batch(images, persistent=persistent))
    print(f"{KEEP * NUM_SAMPLES / BATCH_SIZE:.0f} batches an epoch, {NUM_WORKERS} workers, torch {torch.__version__}")
    for persistent, values in found.items():
        print(f"workers that {'persist' if persistent else 'start anew'}: {shown(values)} a batch")
