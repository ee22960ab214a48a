"""Whatever is left of a plan is divided into equally many batches, each sample once, or refused with a reason."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import emprune
from emprune.data.cursor import Cursor
from emprune.data.sampler import PlanBatchSampler
from emprune.data.shard import Shard, batch_slices
from tests.messages import Raises


def deal(plan: torch.Tensor, *, world_size: int, batch_size: int, num_before: int = 0) -> list[Shard]:
    return [
        Shard.dealt(plan, rank=rank, world_size=world_size, batch_size=batch_size, num_before=num_before)
        for rank in range(world_size)
    ]


def batches_of(share: Shard, batch_size: int) -> list[list[int]]:
    place = Cursor(share)
    return [place.rest[part].tolist() for part in batch_slices(len(place.rest), batch_size, place.last)]


@given(size=st.integers(0, 60), before=st.floats(0, 1), world_size=st.integers(1, 7), batch_size=st.integers(1, 6))
def test_any_rest_on_any_number_of_ranks(size: int, before: float, world_size: int, batch_size: int) -> None:
    plan = torch.randperm(100, generator=torch.Generator().manual_seed(size))[:size]
    num_before = round(before * size)
    num_left = size - num_before
    num_batches = -(-num_left // (world_size * batch_size))
    if num_left // world_size < num_batches:  # the least share has not a sample for every batch
        with pytest.raises(emprune.errors.StateError, match=f"got {num_left} samples in batches of up to {batch_size}"):
            deal(plan, world_size=world_size, batch_size=batch_size, num_before=num_before)
        return
    shares = deal(plan, world_size=world_size, batch_size=batch_size, num_before=num_before)
    ranks = [batches_of(share, batch_size) for share in shares]
    assert {len(batches) for batches in ranks} == {num_batches}
    delivered = set(plan[:num_before].tolist())
    for number, batches in enumerate(zip(*ranks, strict=True)):
        assert all(1 <= len(batch) <= batch_size for batch in batches)
        delivered.update(*batches)
        counts = {
            share.num_delivered(sum(map(len, mine[: number + 1]))) for share, mine in zip(shares, ranks, strict=True)
        }
        assert counts == {len(delivered)}  # every rank tells the same place
        assert delivered == set(plan[: len(delivered)].tolist())  # and up to it all has been delivered
    assert len(delivered) == size
    assert sum(len(batch) for batches in ranks for batch in batches) == num_left


def test_planned_for_these_ranks_it_is_every_so_manieth_in_batches_of_one_size() -> None:
    for rank, share in enumerate(deal(torch.arange(20), world_size=2, batch_size=4)):
        assert batches_of(share, 4) == [list(range(rank, 20, 2))[start : start + 4] for start in (0, 4, 8)]


def test_fewer_than_the_ranks_for_the_last_batch_get_company_from_the_one_before() -> None:
    ranks = [batches_of(share, 4) for share in deal(torch.arange(13), world_size=3, batch_size=4)]
    assert ranks == [[[0, 3, 6], [9, 12]], [[1, 4, 7], [10]], [[2, 5, 8], [11]]]


@pytest.mark.parametrize(("size", "batch_size"), [(2, 4), (7, 1)])
def test_what_cannot_be_divided_says_what_to_do(size: int, batch_size: int, raises: Raises) -> None:
    with raises(emprune.errors.StateError, value=size):
        deal(torch.arange(10), world_size=3, batch_size=batch_size, num_before=10 - size)


@given(size=st.integers(0, 20), batch_size=st.integers(1, 5), last=st.integers(0, 5))
def test_a_sampler_is_as_long_as_what_it_yields(size: int, batch_size: int, last: int) -> None:
    sampler = PlanBatchSampler(batch_size)
    sampler.deliver(torch.arange(size), last=min(last, size))
    batches = list(sampler)
    assert len(batches) == len(sampler)
    assert [i for batch in batches for i in batch] == list(range(size))
