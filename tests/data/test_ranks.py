"""Two ranks' loaders deliver the plan between them; the ranks are pretended, one process plays both."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler

import emprune
from emprune.distributed import Ranks
from tests.data.datasets import Positions
from tests.data.helpers import loss_of


class PretendedRanks(Ranks):
    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size

    def merge(
        self, num_samples: int, index: Tensor, measured: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Keep to what this rank saw: the plan of a method that does not score is the same."""
        return index, dict(measured)


def make_rank(rank: int) -> tuple[emprune.DataPruner, emprune.PrunedLoader]:
    pruner = emprune.DataPruner(emprune.Random(), num_samples=31, num_epochs=4, keep=0.6, tail_fraction=0.4)
    pruner._ranks = PretendedRanks(rank, 2)
    dataset = Positions(31)
    sampler: DistributedSampler[Tensor] = DistributedSampler(dataset, num_replicas=2, rank=rank)
    return pruner, emprune.PrunedLoader(DataLoader(dataset, batch_size=4, sampler=sampler), pruner)


def test_ranks_share_the_plan_in_equally_many_batches_and_nothing_twice() -> None:
    (one, first), (other, second) = make_rank(0), make_rank(1)
    assert first.total_steps == second.total_steps
    for epoch in range(4):
        first.set_epoch(epoch)
        second.set_epoch(epoch)
        assert one.plan == other.plan
        pairs = list(zip(first, second, strict=True))
        assert len(pairs) == len(first) == len(second)
        together = [torch.stack([a, b], dim=1).flatten() for (a, _), (b, _) in pairs]
        assert torch.cat(together).equal(one.plan.index)


def test_a_place_is_counted_over_all_ranks() -> None:
    (one, first), (other, second) = make_rank(0), make_rank(1)
    first.set_epoch(0)
    second.set_epoch(0)
    index, _ = next(held := iter(first))
    one.observe(index, loss_of(index))
    one.sync()
    place = first.state_dict()
    del held
    assert place["num_delivered"] == 8
    second.load_state_dict(place)
    rest = torch.cat([index for index, _ in second])
    assert rest.equal(other.plan.index[9::2])
    with pytest.raises(emprune.StateError, match=r"7 samples, is not in this epoch's plan .* on 2 rank\(s\)"):
        second.load_state_dict({**place, "num_delivered": 7})
    mine = one.plan.index[::2].tolist()
    with pytest.raises(emprune.StateError, match=r"A place is loaded by the rank that saved it"):
        second.load_state_dict({**place, "ahead": mine[4:]})
