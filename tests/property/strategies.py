"""What the properties are tried on."""

from dataclasses import dataclass

import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch import Tensor

import emprune


@dataclass(frozen=True)
class Run:
    """The settings of a run that can be met."""

    num_samples: int
    num_epochs: int
    keep: float
    warmup_epochs: int = 0
    tail_epochs: int = 0
    multiple_of: int = 1
    world_size: int = 1
    seed: int = 0

    @property
    def schedule(self) -> emprune.schedule.Schedule:
        return emprune.schedule.Schedule(
            num_samples=self.num_samples,
            num_epochs=self.num_epochs,
            keep=self.keep,
            warmup_epochs=self.warmup_epochs,
            tail_epochs=self.tail_epochs,
        )


@st.composite
def runs(draw: st.DrawFn, *, max_samples: int = 60, max_epochs: int = 8, max_ranks: int = 1) -> Run:
    """Runs whose budget leaves at least one sample per rank and pruned epoch."""
    ranks = draw(st.integers(1, max_ranks))
    num_samples = draw(st.integers(ranks, max_samples))
    num_epochs = draw(st.integers(1, max_epochs))
    warmup = draw(st.integers(0, min(2, num_epochs - 1)))
    tail = draw(st.integers(0, min(2, num_epochs - 1 - warmup)))
    full = num_samples // ranks * ranks
    least = (warmup + tail) * num_samples + (num_epochs - warmup - tail) * ranks
    assume(least <= num_epochs * full)
    budget = draw(st.integers(least, num_epochs * full))
    return Run(
        num_samples=num_samples,
        num_epochs=num_epochs,
        keep=min(1.0, budget / (num_samples * num_epochs)),
        warmup_epochs=warmup,
        tail_epochs=tail,
        multiple_of=ranks * draw(st.integers(1, 20)),
        world_size=ranks,
        seed=draw(st.integers(0, 1000)),
    )


def untied(*, min_size: int = 2, max_size: int = 40) -> st.SearchStrategy[Tensor]:
    """(N,) float32 losses that all differ."""
    values = st.floats(0, 100, width=32)
    return st.lists(values, min_size=min_size, max_size=max_size, unique=True).map(torch.tensor)


def tied(*, min_size: int = 2, max_size: int = 40) -> st.SearchStrategy[Tensor]:
    """(N,) float32 losses of which many are equal."""
    values = st.sampled_from([0.0, 0.5, 1.0, 3.0000002])
    return st.lists(values, min_size=min_size, max_size=max_size).map(torch.tensor)


METHODS = {
    "random": lambda n: emprune.Random(),
    "random-permutation": lambda n: emprune.RandomPermutation(),
    "static-random": lambda n: emprune.methods.StaticRandom(),
    "static-subset": lambda n: emprune.methods.StaticSubset(torch.arange(n).float()),
    "greedy": lambda n: emprune.Greedy(),
    "epsilon-greedy": lambda n: emprune.methods.EpsilonGreedy(epsilon=0.3, replan_every=2),
    "ucb": lambda n: emprune.methods.UCB(replan_every=3),
    "infobatch": lambda n: emprune.InfoBatch(),
    "infobatch-normalised": lambda n: emprune.InfoBatch(normalize=True),
    "order-dp": lambda n: emprune.methods.OrderDP(pool=1.7),
    "soft": lambda n: emprune.methods.SoftSelection(by="percentile", final_strength=3),
    "reducible-loss": lambda n: emprune.methods.ReducibleLoss(torch.arange(n).cos()),
    "kakurenbo": lambda n: emprune.methods.Kakurenbo(),
    "seta": lambda n: emprune.methods.SeTa(num_groups=7, window=0.2),
    "emp": lambda n: emprune.EMP(pool=1.7),
    "emp-gap": lambda n: emprune.EMP(pool="gap"),
    "emp-paper": lambda n: emprune.EMP.paper(),
}
"""Every method that runs at any `keep`, by name, given N."""
