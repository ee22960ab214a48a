"""Runs that several ranks make together; at module level, so that the ranks' processes find them."""

import itertools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler

import emprune
from emprune.data.planned import PlannedLoader
from emprune.testing import SyntheticTask
from tests.data.datasets import Positions
from tests.data.streams import keyed

NUM_SAMPLES, NUM_EPOCHS = 96, 5
QUANTUM = 24
"""Samples in a global batch: a multiple of 1, 2, 3 and 4 ranks."""
TASK = SyntheticTask(num_samples=NUM_SAMPLES)

METHODS: dict[str, tuple[emprune.Method, float | None]] = {
    "full": (emprune.Full(), 1.0),
    "random": (emprune.Random(), 0.4),
    "random-permutation": (emprune.RandomPermutation(), 0.4),
    "static-random": (emprune.methods.StaticRandom(), 0.4),
    "static-subset": (emprune.methods.StaticSubset(torch.arange(NUM_SAMPLES).float()), 0.4),
    "greedy": (emprune.Greedy(), 0.4),
    "epsilon-greedy": (emprune.methods.EpsilonGreedy(epsilon=0.3, replan_every=2), 0.4),
    "ucb": (emprune.methods.UCB(replan_every=2), 0.4),
    "infobatch": (emprune.InfoBatch(delta=1.0), 0.4),
    "infobatch, normalised": (emprune.InfoBatch(delta=1.0, normalize=True), 0.4),
    "order-dp": (emprune.methods.OrderDP(), 0.4),
    "soft": (emprune.methods.SoftSelection(), 0.4),
    "reducible-loss": (emprune.methods.ReducibleLoss(torch.arange(NUM_SAMPLES).cos()), 0.4),
    "kakurenbo": (emprune.methods.Kakurenbo(), 0.4),
    "seta": (emprune.methods.SeTa(), 0.4),
    "emp": (emprune.EMP(), 0.4),
    "emp, pool": (emprune.EMP(pool=1.5), 0.4),
    "emp, gap": (emprune.EMP(pool="gap"), 0.4),
}


def make_pruner(name: str = "emp", **options: Any) -> emprune.DataPruner:
    method, keep = METHODS[name]
    settings = {"num_samples": NUM_SAMPLES, "num_epochs": NUM_EPOCHS, "keep": keep, **options}
    return emprune.DataPruner(method, **settings)


def observe(pruner: emprune.DataPruner, index: Tensor, *, bad: tuple[int, ...] = ()) -> None:
    """Observe a batch, and the epoch's validation loss; the samples in `bad` cost NaN in epochs 1 and 4."""
    losses, logits = TASK.batch(index, epoch=pruner.epoch)
    if bad and pruner.epoch in (1, 4):
        losses = losses.masked_fill(torch.isin(index, torch.tensor(bad)), torch.nan)
    pruner.observe(index, losses, logits)
    pruner.observe_validation(**TASK.validation(epoch=pruner.epoch))


def make_loader(kind: str, pruner: emprune.DataPruner, *, batch_size: int, **options: Any) -> PlannedLoader:
    """A loader of positions: a "pruned" one around an ordinary distributed DataLoader, "arrays", or a "stream"."""
    if kind == "arrays":
        return emprune.ArrayLoader((torch.arange(pruner.num_samples),), pruner, batch_size=batch_size, **options)
    if kind == "stream":
        stream = keyed([pruner.num_samples // 2, 3, pruner.num_samples - pruner.num_samples // 2 - 3])
        return emprune.PrunedStream(DataLoader(stream, batch_size=batch_size), pruner, shuffle_buffer=7, **options)
    dataset = Positions(pruner.num_samples)
    sampler: DistributedSampler[Tensor] = DistributedSampler(dataset, num_replicas=pruner.world_size, rank=pruner.rank)
    return emprune.PrunedLoader(DataLoader(dataset, batch_size=batch_size, sampler=sampler), pruner, **options)


@dataclass
class Leg:
    """A part of a run on some number of ranks: from a saved state to a place, where it is saved.

    Attributes:
        kind: The loader.
        batch_size: Samples per batch and rank.
        stop: The epoch, and how many batches of it, to stop after; None for the run's end.
        saved: The loader's state to begin with.
        synced: Whether observations are merged before the state is saved.
    """

    kind: str
    batch_size: int
    stop: tuple[int, int] | None = None
    saved: dict[str, Any] | None = None
    synced: bool = True

    def __call__(self) -> tuple[list[tuple[int, list[int]]], dict[str, Any]]:
        """Return the batches, each with its epoch, and the state at the end."""
        pruner = make_pruner(tail_epochs=1)
        loader = make_loader(self.kind, pruner, batch_size=self.batch_size)
        if self.saved is not None:
            loader.load_state_dict(self.saved)
        delivered = []
        for epoch in loader.epochs():
            num_batches = self.stop[1] if self.stop is not None and self.stop[0] == epoch else len(loader)
            for index, batch in itertools.islice(loader, num_batches):
                assert index.equal(batch if isinstance(batch, Tensor) else batch[0])
                observe(pruner, index)
                delivered.append((epoch, index.tolist()))
            if self.stop is not None and self.stop[0] == epoch:
                break
        if self.synced:
            pruner.sync()
        return delivered, loader.state_dict()
