"""What cannot be delivered is refused, with what to do instead."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

import emprune
from tests.data.datasets import Positions, Vectorised
from tests.data.helpers import loss_of, make_loader, make_pruner, train
from tests.messages import Raises


class Stream(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return iter(range(22))


class Endless(Dataset[int]):
    def __getitem__(self, index: int) -> int:
        return index


class FirstHalfLast(RandomSampler):
    """A random sampler with an order of its own."""


def _keep_valid(samples: list[Tensor]) -> Tensor:
    return torch.stack([s for s in samples if int(s) % 5])


def _keep_first(samples: list[Tensor]) -> Tensor:
    return samples[0][None]


def _longest_first(samples: list[Tensor]) -> Tensor:
    samples.sort(key=int, reverse=True)
    return torch.stack(samples)


def _without_last(samples: list[Tensor]) -> Tensor:
    samples.pop()
    return torch.stack(samples)


DATA = Positions(22)


class OwnBatches(BatchSampler):
    """A batch sampler with batches of its own."""


@pytest.mark.parametrize(
    ("loader", "message"),
    [
        ([1, 2], r"`dataloader` must be a torch DataLoader: got list\. Without one, use DataPruner\.begin_epoch"),
        (DataLoader(Stream(), batch_size=4), r"must be map-style, .* got an IterableDataset"),
        (DataLoader(Endless(), batch_size=4), r"must be map-style, .* got a dataset without `__len__`"),
        (DataLoader(DATA, batch_size=None), r"`batch_size` must be .* got batch_size=None, where the dataset makes"),
        (
            DataLoader(DATA, sampler=BatchSampler(SequentialSampler(DATA), 4, False), batch_size=None),
            r"`batch_size` must be .* got batch_size=None, where the dataset makes",
        ),
        (
            DataLoader(DATA, batch_sampler=OwnBatches(SequentialSampler(DATA), 4, False)),
            r"got a OwnBatches, which makes batches itself\. Give the DataLoader batch_size=",
        ),
        (DataLoader(DATA, sampler=WeightedRandomSampler([1.0] * 22, 22)), r"got WeightedRandomSampler, which chooses"),
        (DataLoader(DATA, sampler=SubsetRandomSampler(range(22))), r"got SubsetRandomSampler, .* Use shuffle=True"),
        (DataLoader(DATA, sampler=RandomSampler(DATA, replacement=True)), r"got RandomSampler, which chooses"),
        (DataLoader(DATA, sampler=RandomSampler(DATA, num_samples=7)), r"got RandomSampler, which chooses"),
        (DataLoader(DATA, sampler=RandomSampler(range(7))), r"got RandomSampler, which chooses"),
        (DataLoader(DATA, sampler=SequentialSampler(range(7))), r"got SequentialSampler, which chooses"),
        (DataLoader(DATA, sampler=FirstHalfLast(DATA)), r"got FirstHalfLast, which chooses"),
        (DataLoader(DATA, sampler=list(range(22))), r"got list, which chooses"),
        (
            DataLoader(DATA, sampler=DistributedSampler(DATA, num_replicas=2, rank=0)),
            r"DistributedSampler must be for the pruner's 1 rank\(s\): got 2",
        ),
        (DataLoader(Positions(21), batch_size=4), r"`num_samples` must be the length of the dataset, 21: got 22"),
        (make_loader(make_pruner()), r"`dataloader` must be the DataLoader as you made it: got a PrunedLoader"),
        (make_loader(make_pruner()).loader, r"`dataloader` must be .* got the one inside a PrunedLoader"),
    ],
    ids=lambda value: None if isinstance(value, str) else type(value).__name__,
)
def test_a_loader_that_cannot_be_pruned(loader: Any, message: str) -> None:
    with pytest.raises(emprune.ConfigError, match=message):
        emprune.PrunedLoader(loader, make_pruner())


@pytest.mark.parametrize(
    "sampler",
    [
        SequentialSampler(DATA),
        RandomSampler(DATA),
        RandomSampler(DATA, num_samples=22),
        DistributedSampler(DATA, num_replicas=1, rank=0),
    ],
)
@pytest.mark.parametrize("batched", [False, True], ids=["batch_size", "BatchSampler"])
def test_samplers_that_are_replaced_by_the_plan(sampler: Any, batched: bool) -> None:
    pruner = make_pruner()
    options = {"batch_sampler": BatchSampler(sampler, 4, False)} if batched else {"batch_size": 4, "sampler": sampler}
    loader = emprune.PrunedLoader(DataLoader(DATA, **options), pruner)
    assert (loader.batch_size, loader.drop_last) == (4, False)
    loader.set_epoch(0)
    assert train(pruner, loader) == pruner.plan.index.tolist()


@pytest.mark.parametrize("accumulation", [0, -1, 1.5, True, None])
def test_accumulation_is_a_positive_integer(accumulation: Any) -> None:
    with pytest.raises(
        emprune.ConfigError, match=r"`accumulation` must be an integer of at least 1: got accumulation="
    ):
        emprune.PrunedLoader(DataLoader(DATA, batch_size=4), make_pruner(), accumulation=accumulation)


def test_a_cost_that_cannot_be_met_is_refused_at_once(raises: Raises) -> None:
    pruner = make_pruner(keep=0.1, tail_epochs=0)
    with raises(emprune.ConfigError, parameter="keep", value=0.1):
        make_loader(pruner, drop_last=True)


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("collate_fn", [_longest_first, _without_last])
def test_a_collate_function_that_changes_the_list_of_samples(collate_fn: Any, num_workers: int) -> None:
    pruner = make_pruner(num_epochs=1, keep=1.0, tail_epochs=0)
    loader = make_loader(pruner, collate_fn=collate_fn, batch_size=11, num_workers=num_workers)
    loader.set_epoch(0)
    with pytest.raises(emprune.ConfigError, match=r"`collate_fn` must keep .* their order.*enforce_sorted=False"):
        list(loader)


def test_a_batch_may_have_another_shape_than_its_samples() -> None:
    pruner = make_pruner()
    loader = make_loader(pruner, collate_fn=lambda samples: torch.stack(samples).view(-1, 2))
    loader.set_epoch(0)
    assert all(pairs.flatten().equal(index) for index, pairs in loader if len(index) == 4)


@pytest.mark.parametrize(("collate_fn", "left"), [(_keep_valid, 8), (_keep_first, 1)])
@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_drop_is_refused_when_observed(collate_fn: Any, left: int, num_workers: int) -> None:
    pruner = make_pruner(11, num_epochs=1, keep=1.0, tail_epochs=0)
    loader = make_loader(pruner, collate_fn=collate_fn, batch_size=11, num_workers=num_workers)
    loader.set_epoch(0)
    index, batch = next(iter(loader))
    message = f"got 11 indices and {left} losses.* must return emprune.data.KeptSamples"
    with pytest.raises(emprune.errors.ObservationError, match=message):
        pruner.reduce(index, loss_of(batch))


def test_getitems_that_drops_samples() -> None:
    pruner = make_pruner()
    loader = make_loader(pruner, Vectorised(22, lost=1))
    loader.set_epoch(0)
    with pytest.raises(emprune.ConfigError, match=r"must return one sample per index: got 3 for 4 indices"):
        list(loader)


def test_getitems_that_sorts_its_list() -> None:
    class Sorting(Vectorised):
        def __getitems__(self, index: list[int]) -> list[Tensor]:
            index.sort()
            return super().__getitems__(index)

    loader = make_loader(make_pruner(), Sorting(22))
    loader.set_epoch(0)
    with pytest.raises(emprune.ConfigError, match="in the order of the indices.* it changed the list"):
        list(loader)


def test_a_dataset_that_changes_its_length() -> None:
    pruner, dataset = make_pruner(), Positions(22)
    loader = make_loader(pruner, dataset)
    loader.set_epoch(0)
    train(pruner, loader)
    before = pruner.state_dict()
    dataset.size = 23
    with pytest.raises(emprune.ConfigError, match=r"must have the 22 samples .* got 23.* must not change its length"):
        loader.set_epoch(1)
    assert pruner.epoch == before["epoch"] == 0
    dataset.size = 22
    loader.set_epoch(1)


def test_iterating_before_set_epoch_says_what_to_do() -> None:
    pruner = make_pruner()
    loader = make_loader(pruner)
    with pytest.raises(
        emprune.errors.EpochError, match=r"got no epoch here and epoch -1 there.* call loader\.set_epoch\(epoch\)"
    ):
        iter(loader)
    pruner.begin_epoch(0, multiple_of=4)
    with pytest.raises(emprune.errors.EpochError, match=r"got no epoch here and epoch 0 there"):
        iter(loader)
    loader.set_epoch(0)
    train(pruner, loader)


def test_a_loader_left_behind_by_its_pruner() -> None:
    pruner = make_pruner()
    loader, other = make_loader(pruner), make_loader(pruner)
    loader.set_epoch(0)
    saved = pruner.state_dict()
    train(pruner, loader)
    running = iter(loader)
    other.set_epoch(1)
    with pytest.raises(emprune.errors.EpochError, match=r"got epoch 0 here and epoch 1 there"):
        iter(loader)
    with pytest.raises(
        emprune.errors.EpochError, match=r"This iteration is of epoch 0, and the pruner has planned anew since"
    ):
        next(running)
    pruner.load_state_dict(saved)
    with pytest.raises(emprune.errors.EpochError, match=r"must have begun in the loader and in its pruner"):
        iter(loader)
    loader.set_epoch(0)
    assert train(pruner, loader) == pruner.plan.index.tolist()


def test_moving_on_during_the_last_batch_is_allowed() -> None:
    pruner = make_pruner()
    loader = make_loader(pruner)
    loader.set_epoch(0)
    for index, position in loader:
        pruner.reduce(index, loss_of(position))
        if loader.num_delivered == len(pruner.plan):
            loader.set_epoch(1)
    assert loader.num_delivered == 0
    assert train(pruner, loader) == pruner.plan.index.tolist()
