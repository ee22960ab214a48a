"""What cannot be delivered is refused, with what to do instead."""

import copy
from collections.abc import Iterator, Mapping
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
from emprune.data.planned import PlannedLoader
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
    ("loader", "value"),
    [
        ([1, 2], "list"),
        (DataLoader(Stream(), batch_size=4), "an IterableDataset"),
        (DataLoader(Endless(), batch_size=4), "a dataset without `__len__`"),
        (DataLoader(DATA, batch_size=None), "batch_size=None"),
        (DataLoader(DATA, sampler=BatchSampler(SequentialSampler(DATA), 4, False), batch_size=None), "batch_size=None"),
        (DataLoader(DATA, batch_sampler=OwnBatches(SequentialSampler(DATA), 4, False)), "OwnBatches"),
        (DataLoader(DATA, sampler=WeightedRandomSampler([1.0] * 7, 22)), "WeightedRandomSampler"),
        (DataLoader(DATA, sampler=SubsetRandomSampler(range(22))), "SubsetRandomSampler"),
        (DataLoader(DATA, sampler=RandomSampler(DATA, replacement=True)), "RandomSampler"),
        (DataLoader(DATA, sampler=RandomSampler(DATA, num_samples=7)), "RandomSampler"),
        (DataLoader(DATA, sampler=RandomSampler(range(7))), "RandomSampler"),
        (DataLoader(DATA, sampler=SequentialSampler(range(7))), "SequentialSampler"),
        (DataLoader(DATA, sampler=FirstHalfLast(DATA)), "FirstHalfLast"),
        (DataLoader(DATA, sampler=list(range(22))), "list"),
        (DataLoader(DATA, sampler=DistributedSampler(DATA, num_replicas=2, rank=0)), 2),
        (DataLoader(Positions(21), batch_size=4), 22),
        (make_loader(make_pruner()), "PrunedLoader"),
        (make_loader(make_pruner()).loader, "the one inside a PrunedLoader"),
    ],
    ids=lambda value: str(value) if isinstance(value, str | int) else type(value).__name__,
)
def test_a_loader_that_cannot_be_pruned(loader: Any, value: Any, raises: Raises) -> None:
    with raises(emprune.ConfigError, value=value):
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
def test_accumulation_is_a_positive_integer(accumulation: Any, raises: Raises) -> None:
    with raises(emprune.ConfigError, parameter="accumulation", value=accumulation):
        emprune.PrunedLoader(DataLoader(DATA, batch_size=4), make_pruner(), accumulation=accumulation)


def test_a_cost_that_cannot_be_met_is_refused_at_once(raises: Raises) -> None:
    pruner = make_pruner(keep=0.1, tail_epochs=0)
    with raises(emprune.ConfigError, parameter="keep", value=0.1):
        make_loader(pruner, drop_last=True)


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind in ("PrunedLoader", "ArrayLoader") for name in ("batch_size", "drop_last", "accumulation")]
    + [("PrunedLoader", name) for name in ("dataset", "batch_sampler", "num_workers", "collate_fn")]
    + [("ArrayLoader", "arrays")],
)
def test_what_the_batches_depend_on_stays_as_it_was_made(kind: str, name: str, raises: Raises) -> None:
    pruner = make_pruner()
    made: PlannedLoader = make_loader(pruner)
    if kind == "ArrayLoader":
        made = emprune.ArrayLoader((torch.arange(22),), pruner, batch_size=4)
    for loader in (made, copy.deepcopy(made)):
        before = getattr(loader, name)
        with raises(emprune.ConfigError, parameter=name, value=3):
            setattr(loader, name, 3)
        assert getattr(loader, name) is before


@pytest.mark.parametrize("length", ["num_epochs", "num_steps"])
@pytest.mark.parametrize(("batch_size", "accumulation"), [(1000, 1), (16, 2), (1, 30)])
def test_a_step_that_the_dataset_cannot_fill(length: str, batch_size: int, accumulation: int, raises: Raises) -> None:
    def make(changes: Mapping[str, Any]) -> emprune.PrunedLoader:
        batches: dict[str, Any] = {"batch_size": batch_size, "drop_last": True, "accumulation": accumulation, **changes}
        budget: Any = {length: 3, "keep": 0.5, "accumulation": batches.pop("accumulation")}
        return emprune.PrunedLoader(DataLoader(DATA, **batches), "random", **budget)

    with raises(emprune.ConfigError, parameter="batch_size", value=batch_size) as refused:
        make({})
    assert (f"{batch_size * accumulation} samples" in str(refused.value)) == (accumulation > 1)
    assert refused.value.suggestion
    make(refused.value.suggestion)  # in the words of the loader, and it works


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("collate_fn", [_longest_first, _without_last])
def test_a_collate_function_that_changes_the_list_of_samples(collate_fn: Any, num_workers: int, raises: Raises) -> None:
    pruner = make_pruner(num_epochs=1, keep=1.0, tail_epochs=0)
    loader = make_loader(pruner, collate_fn=collate_fn, batch_size=11, num_workers=num_workers)
    loader.set_epoch(0)
    with raises(emprune.ConfigError, parameter="collate_fn"):
        list(loader)


def test_a_batch_may_have_another_shape_than_its_samples() -> None:
    pruner = make_pruner()
    loader = make_loader(pruner, collate_fn=lambda samples: torch.stack(samples).view(-1, 2))
    loader.set_epoch(0)
    assert all(pairs.flatten().equal(index) for index, pairs in loader if len(index) == 4)


@pytest.mark.parametrize(("collate_fn", "left"), [(_keep_valid, 8), (_keep_first, 1)])
@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_drop_is_refused_when_observed(collate_fn: Any, left: int, num_workers: int, raises: Raises) -> None:
    pruner = make_pruner(11, num_epochs=1, keep=1.0, tail_epochs=0)
    loader = make_loader(pruner, collate_fn=collate_fn, batch_size=11, num_workers=num_workers)
    loader.set_epoch(0)
    index, batch = next(iter(loader))
    with raises(emprune.errors.ObservationError, parameter="losses", value=f"{left} losses"):
        pruner.reduce(index, loss_of(batch))


def test_getitems_that_drops_samples(raises: Raises) -> None:
    pruner = make_pruner()
    loader = make_loader(pruner, Vectorised(22, lost=1))
    loader.set_epoch(0)
    with raises(emprune.ConfigError, parameter="dataset.__getitems__", value=3):
        list(loader)


def test_getitems_that_sorts_its_list(raises: Raises) -> None:
    class Sorting(Vectorised):
        def __getitems__(self, index: list[int]) -> list[Tensor]:
            index.sort()
            return super().__getitems__(index)

    loader = make_loader(make_pruner(), Sorting(22))
    loader.set_epoch(0)
    with raises(emprune.ConfigError, parameter="dataset.__getitems__"):
        list(loader)


def test_a_dataset_that_changes_its_length(raises: Raises) -> None:
    pruner, dataset = make_pruner(), Positions(22)
    loader = make_loader(pruner, dataset)
    loader.set_epoch(0)
    train(pruner, loader)
    before = pruner.state_dict()
    dataset.size = 23
    with raises(emprune.ConfigError, value=23):
        loader.set_epoch(1)
    assert pruner.epoch == before["epoch"] == 0
    dataset.size = 22
    loader.set_epoch(1)


def test_iterating_before_set_epoch_says_what_to_do(raises: Raises) -> None:
    pruner = make_pruner()
    loader = make_loader(pruner)
    with raises(emprune.errors.EpochError, value="no epoch"):
        iter(loader)
    pruner.begin_epoch(0, multiple_of=4)
    with raises(emprune.errors.EpochError, value=0):
        iter(loader)
    loader.set_epoch(0)
    train(pruner, loader)


def test_a_loader_left_behind_by_its_pruner(raises: Raises) -> None:
    pruner = make_pruner()
    loader, other = make_loader(pruner), make_loader(pruner)
    loader.set_epoch(0)
    saved = pruner.state_dict()
    train(pruner, loader)
    running = iter(loader)
    other.set_epoch(1)
    with raises(emprune.errors.EpochError, value=1):
        iter(loader)
    with raises(emprune.errors.EpochError, value=0):
        next(running)
    pruner.load_state_dict(saved)
    with raises(emprune.errors.EpochError, value=0):
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
