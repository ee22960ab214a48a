"""EpochPlan: a value, and its shards."""

import copy
import dataclasses
import functools
import operator
import pickle

import pytest
import torch

import emprune
from tests.messages import Raises


def make_plan(*, weighted: bool = True, epoch: int = 3) -> emprune.EpochPlan:
    index = torch.tensor([7, 2, 9, 4, 0, 5])
    weight = torch.tensor([1.0, 2.0, 1.0, 2.0, 3.0, 1.0]) if weighted else None
    return emprune.EpochPlan(epoch=epoch, index=index, weight=weight, num_samples=10)


def test_equal_plans_are_equal_values() -> None:
    plan, twin = make_plan(), make_plan()
    assert plan == twin
    assert hash(plan) == hash(twin)
    assert plan.fingerprint == twin.fingerprint
    assert {plan, twin} == {plan}


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": 4},
        {"num_samples": 11},
        {"index": torch.tensor([7, 2, 9, 4, 5, 0])},
        {"index": torch.tensor([7, 2, 9, 4, 0, 6])},
        {"index": torch.tensor([7, 2, 9, 4, 0]), "weight": torch.tensor([1.0, 2.0, 1.0, 2.0, 3.0])},
        {"weight": torch.tensor([1.0, 2.0, 1.0, 2.0, 3.0, 1.5])},
        {"weight": None},
    ],
)
def test_plans_that_differ_anywhere_are_not_equal(change: dict[str, object]) -> None:
    other = dataclasses.replace(make_plan(), **change)  # type: ignore[arg-type]
    assert other != make_plan()
    assert other.fingerprint != make_plan().fingerprint


def test_a_plan_is_no_other_thing() -> None:
    assert make_plan() != "plan"
    assert make_plan().__eq__(3) is NotImplemented


def test_a_plan_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_plan().epoch = 1  # type: ignore[misc]


def test_fingerprints_never_change() -> None:
    # Another value here, and saved fingerprints no longer tell whether a run is the same.
    assert make_plan().fingerprint == "7a4699f1c4f20780bbea3cd14207afb2"
    assert make_plan(weighted=False).fingerprint == "1712687a3a5fa9831848575ba8185e60"


def test_the_fingerprint_does_not_depend_on_memory_layout() -> None:
    plan = make_plan()
    strided = torch.stack([plan.index, plan.index], dim=1)[:, 0]
    assert not strided.is_contiguous()
    assert emprune.EpochPlan(3, strided, plan.weight, 10) == plan


@pytest.mark.parametrize("weighted", [False, True])
def test_copies_are_equal(weighted: bool) -> None:
    plan = make_plan(weighted=weighted)
    fingerprint = plan.fingerprint
    for twin in (copy.deepcopy(plan), pickle.loads(pickle.dumps(plan))):
        assert twin is not plan
        assert emprune.EpochPlan(twin.epoch, twin.index, twin.weight, twin.num_samples).fingerprint == fingerprint


def test_what_it_says_about_itself() -> None:
    assert len(make_plan()) == 6
    assert make_plan().kept_fraction == 0.6
    assert repr(make_plan()) == "EpochPlan(epoch=3, 6 of 10 samples, weighted)"
    assert repr(make_plan(weighted=False)) == "EpochPlan(epoch=3, 6 of 10 samples)"


@pytest.mark.parametrize("world_size", [1, 2, 3, 6])
@pytest.mark.parametrize("weighted", [False, True])
def test_shards_partition_the_plan_in_strides(world_size: int, weighted: bool) -> None:
    plan = make_plan(weighted=weighted)
    shards = [plan.shard(rank, world_size) for rank in range(world_size)]
    for rank, shard in enumerate(shards):
        assert shard.index.tolist() == plan.index.tolist()[rank::world_size]
        assert (shard.epoch, shard.num_samples, len(shard)) == (3, 10, 6 // world_size)
        if plan.weight is None:
            assert shard.weight is None
        else:
            assert shard.weight is not None
            assert shard.weight.tolist() == plan.weight.tolist()[rank::world_size]
    assert torch.stack([shard.index for shard in shards], dim=1).flatten().equal(plan.index)


def test_the_same_samples_in_another_order_keep_their_weights() -> None:
    plan = make_plan()
    assert plan.weight is not None
    other = plan.reordered(torch.arange(len(plan)).flip(0))
    assert other.weight is not None
    assert other.index.tolist() == plan.index.tolist()[::-1]
    assert other.weight.tolist() == plan.weight.tolist()[::-1]
    assert (other.epoch, other.num_samples) == (plan.epoch, plan.num_samples)


def test_the_ranks_batches_together_are_the_global_batch() -> None:
    plan = make_plan()
    first_batches = [plan.shard(rank, 2).index[:2].tolist() for rank in range(2)]
    assert sorted(functools.reduce(operator.iadd, first_batches, [])) == sorted(plan.index[:4].tolist())


@pytest.mark.parametrize("world_size", [4, 5, 7])
def test_unequal_shards_are_refused(world_size: int, raises: Raises) -> None:
    with raises(emprune.ConfigError, parameter="world_size", value=world_size):
        make_plan().shard(0, world_size)


@pytest.mark.parametrize(("rank", "world_size"), [(-1, 2), (2, 2), (0, 0), (0, -1)])
def test_ranks_that_are_not_there_are_refused(rank: int, world_size: int, raises: Raises) -> None:
    with raises(emprune.ConfigError, parameter="rank", value=rank):
        make_plan().shard(rank, world_size)


@pytest.mark.parametrize("world_size", [2, 4])
def test_planned_epochs_can_be_shared(world_size: int) -> None:
    pruner = emprune.DataPruner(emprune.Random(), num_samples=103, num_epochs=3, keep=0.5, tail_epochs=1)
    for epoch in range(3):
        plan = pruner.begin_epoch(epoch, multiple_of=world_size * 5, drop_last=True)
        shards = [plan.shard(rank, world_size) for rank in range(world_size)]
        assert sorted(i for shard in shards for i in shard.index.tolist()) == sorted(plan.index.tolist())
        assert len({len(shard) for shard in shards}) == 1
