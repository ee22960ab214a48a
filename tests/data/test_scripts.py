"""What the loops of public training scripts do with a loader works, or is refused with the line to write."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, DistributedSampler, RandomSampler, TensorDataset

import emprune
from emprune.data import KeptSamples
from emprune.testing import assert_same_state
from tests.data.datasets import Positions
from tests.data.helpers import loss_of
from tests.data.streams import keyed
from tests.messages import Raises


def make_loader(dataset: Any = None, method: Any = "greedy", *, batch_size: int = 4, **options: Any) -> Any:
    """A loader over 24 positions: 3 epochs of 12."""
    options = {"num_epochs": 3, "keep": 0.5, **options}
    dataloader = DataLoader(Positions(24) if dataset is None else dataset, batch_size=batch_size, shuffle=True)
    return emprune.PrunedLoader(dataloader, method, **options)


def train(loader: emprune.PrunedLoader) -> int:
    """One pass; return how many samples were delivered."""
    count = 0
    for index, _ in loader:
        loader.reduce(index, loss_of(index))
        count += len(index)
    return count


# The sampler, and what else scripts look for on a DataLoader.


@pytest.mark.parametrize("batched", [False, True], ids=["sampler", "BatchSampler"])
def test_the_line_of_every_script_for_several_gpus_plans_the_epoch(batched: bool) -> None:
    dataset = Positions(24)
    sampler: Any = DistributedSampler(dataset, num_replicas=1, rank=0)
    options: dict[str, Any] = {"batch_sampler": BatchSampler(sampler, 4, False)} if batched else {"sampler": sampler}
    loader = emprune.PrunedLoader(
        DataLoader(dataset, **(options if batched else {"batch_size": 4, **options})), "greedy", num_epochs=3, keep=0.5
    )
    for epoch in range(3):
        loader.sampler.set_epoch(epoch)
        assert loader.pruner.epoch == epoch
        assert train(loader) == 12
    with pytest.raises(emprune.errors.EpochError, match="the run is over"):
        loader.sampler.set_epoch(3)


def test_the_sampler_lists_what_a_pass_delivers() -> None:
    loader = make_loader()
    loader.set_epoch(0)
    assert list(loader.sampler) == loader.pruner.plan.index.tolist()
    assert len(loader.sampler) == 12
    assert list(loader.batch_sampler) == [part.tolist() for part in loader.pruner.plan.index.split(4)]


def test_attributes_of_the_dataloader_are_there() -> None:
    def collate(samples: Any) -> Any:
        return torch.stack(samples)

    dataset = Positions(24)
    dataloader = DataLoader(dataset, batch_size=4, collate_fn=collate, num_workers=1, timeout=7, prefetch_factor=3)
    loader = emprune.PrunedLoader(dataloader, "greedy", num_epochs=3, keep=0.5)
    assert loader.dataset is dataset
    assert loader.collate_fn is collate
    assert (loader.batch_size, loader.num_workers, loader.timeout, loader.prefetch_factor) == (4, 1, 7, 3)
    assert (loader.drop_last, loader.pin_memory, loader.persistent_workers) == (False, False, False)
    with pytest.raises(AttributeError, match="'PrunedLoader' object has no attribute 'shuffle'"):
        _ = loader.shuffle


class ByEpoch(Dataset[int]):
    strength = 0

    def __init__(self) -> None:
        self.epochs: list[int] = []

    def __len__(self) -> int:
        return 24

    def __getitem__(self, index: int) -> int:
        return index

    def set_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)

    def harder(self) -> None:
        self.strength += 1


def test_set_epoch_of_the_users_dataset_is_called_in_each_epoch() -> None:
    dataset = ByEpoch()
    loader = make_loader(dataset)
    for _ in loader.epochs():
        train(loader)
    assert dataset.epochs == [0, 1, 2]


def test_the_users_dataset_is_reached_through_what_a_framework_is_given() -> None:
    dataset = ByEpoch()
    inside = make_loader(dataset).loader.dataset
    inside.harder()
    inside.strength += 1
    assert (dataset.strength, inside.strength) == (2, 2)
    assert not hasattr(inside, "no_such_attribute")


# Epochs.


def test_epochs_that_count_from_1_are_told_to_count_from_0(raises: Raises) -> None:
    loader = make_loader()
    with raises(emprune.errors.EpochError, value=1) as caught:
        for epoch in range(1, 4):
            loader.set_epoch(epoch)
    assert "set_epoch(epoch - 1)" in str(caught.value)
    for epoch in range(1, 4):
        loader.set_epoch(epoch - 1)
        train(loader)


def test_numpys_epochs_are_numbers() -> None:
    loader = make_loader(num_epochs=np.int64(3), keep=np.float32(0.5), seed=np.arange(5)[3], accumulation=np.int8(1))
    for epoch in np.arange(3):
        loader.set_epoch(epoch)
        assert train(loader) == 12
    assert loader.state_dict()["pruner"]["settings"]["seed"] == 3


def test_a_loop_that_takes_the_first_epochs_length_for_all_is_stopped(raises: Raises) -> None:
    """It restarts the loader where an epoch is shorter, and would train on the same samples again."""
    loader = make_loader(batch_size=5, num_epochs=4, warmup_epochs=1)
    loader.set_epoch(0)
    length = len(loader)
    train(loader)
    loader.set_epoch(1)
    assert len(loader) < length
    with raises(emprune.errors.EpochError, value=1):
        for _ in range(length):
            try:
                index, _ = next(iterator)  # type: ignore[has-type]
            except (NameError, StopIteration):
                iterator = iter(loader)
                index, _ = next(iterator)
            loader.reduce(index, loss_of(index))


def test_a_pass_without_observations_may_follow_for_evaluation() -> None:
    loader = make_loader()
    loader.set_epoch(0)
    train(loader)
    for _ in range(2):
        assert sum(len(index) for index, _ in loader) == 12
    loader.set_epoch(1)
    assert train(loader) == 12


# Metrics.


def test_metrics_of_the_training_data_have_what_they_need() -> None:
    torch.manual_seed(0)
    x = torch.randn(60, 4)
    y = (x[:, 0] > 0).long()
    model = torch.nn.Linear(4, 3)
    loader = make_loader(TensorDataset(x, y), emprune.EMP(), batch_size=10, num_epochs=4)
    total = 0.0
    for _ in loader.epochs():
        total = 0.0
        for index, (xb, yb) in loader:
            logits = model(xb)
            losses = F.cross_entropy(logits, yb, reduction="none")
            loader.reduce(index, losses, logits)
            total += float(losses.detach().sum())
    assert loader.num_delivered == 30 < len(loader.dataset)
    with torch.no_grad():
        every = F.cross_entropy(model(x), y, reduction="none")
    loader.sync()
    assert total / loader.num_delivered == pytest.approx(float(every[loader.pruner.kept].mean()))
    assert loader.pruner.mean_loss == pytest.approx(float(every.mean()), rel=1e-5)  # the model has not moved
    assert total / loader.num_delivered > float(every.mean())  # what is delivered is chosen
    evaluation = loader.evaluation()
    assert torch.cat([xb for xb, _ in evaluation]).equal(x)
    assert [len(xb) for xb, _ in loader.evaluation(batch_size=25)] == [25, 25, 10]


@pytest.mark.parametrize("stream", [False, True])
def test_evaluation_takes_positions_or_a_mask_of_the_samples(stream: bool) -> None:
    data = keyed([10, 14]) if stream else Positions(24)
    made: Any = emprune.PrunedStream if stream else emprune.PrunedLoader
    loader = made(DataLoader(data, batch_size=4), "random", num_epochs=2, keep=0.5)
    loader.set_epoch(0)
    kept = loader.pruner.kept
    for index in (kept, kept.tolist(), kept.nonzero()[:, 0], kept.numpy().nonzero()[0], kept.nonzero()[:, 0].int()):
        assert torch.cat(list(loader.evaluation(index=index))).tolist() == kept.nonzero()[:, 0].tolist()
    assert list(loader.evaluation(index=[])) == list(loader.evaluation(index=[False] * 24)) == []


@pytest.mark.parametrize(
    ("index", "found"),
    [
        ([0, 24], "0 to 24"),
        ([-1], "-1"),
        ([3, 5, 3], "3 twice"),
        ([0.5], "(1,) float64"),
        ([True, False], "(2,) bool"),
        ([[1, 2]], "(1, 2) int64"),
        ("probe", "no numbers"),
    ],
)
def test_what_is_no_position_is_not_evaluated(index: Any, found: str, raises: Raises) -> None:
    loader = emprune.PrunedLoader(DataLoader(Positions(24), batch_size=4), "random", num_epochs=2, keep=0.5)
    with raises(emprune.ConfigError, parameter="index", value=found):
        loader.evaluation(index=index)


def test_the_evaluation_loader_keeps_what_the_dataloader_was_given() -> None:
    def collate(samples: list[Tensor]) -> Tensor:
        return -torch.stack(samples)

    dataloader = DataLoader(Positions(24), batch_size=4, collate_fn=collate, num_workers=1)
    evaluation = emprune.PrunedLoader(dataloader, "greedy", num_epochs=3, keep=0.5).evaluation()
    assert evaluation.num_workers == 1
    assert torch.cat(list(evaluation)).tolist() == [-i for i in range(24)]


def test_the_number_delivered_counts_an_epoch_and_starts_anew() -> None:
    loader = make_loader()
    assert loader.num_delivered == 0
    for _ in loader.epochs():
        assert loader.num_delivered == 0
        for number, (index, _) in enumerate(loader, start=1):
            loader.reduce(index, loss_of(index))
            assert loader.num_delivered == 4 * number


# Steps.


@pytest.mark.parametrize("accumulation", [1, 3])
def test_the_steps_left_count_down_to_0(accumulation: int) -> None:
    loader = make_loader(accumulation=accumulation, tail_epochs=1, num_epochs=4)
    total = done = 0
    assert loader.steps_left == loader.total_steps
    for _ in loader.epochs():
        for number, (index, _) in enumerate(loader, start=1):
            loader.reduce(index, loss_of(index))
            total += 1
            done += number % accumulation == 0 or number == len(loader)
            assert loader.steps_left == loader.total_steps - done
    assert loader.steps_left == 0


# Samples that a batch lacks.


class Damaged(Positions):
    def __getitem__(self, index: int) -> Any:
        return None if index % 5 == 0 else super().__getitem__(index)


def without_damaged(samples: list[Any]) -> Any:
    kept = [i for i, sample in enumerate(samples) if sample is not None]
    return KeptSamples(torch.stack([samples[i] for i in kept]), kept)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_collate_function_that_says_what_it_kept_may_drop_samples(num_workers: int) -> None:
    dataloader = DataLoader(Damaged(24), batch_size=8, collate_fn=without_damaged, num_workers=num_workers)
    loader = emprune.PrunedLoader(dataloader, "greedy", num_epochs=3, keep=1.0)
    for _ in loader.epochs():
        for index, batch in loader:
            assert index.equal(batch)
            loader.reduce(index, loss_of(batch))
        assert loader.num_delivered == 24
    loader.sync()
    damaged = torch.arange(24) % 5 == 0
    assert loader.pruner.visits.tolist() == [3] * 24
    assert loader.pruner.stats["failures"].tolist() == torch.where(damaged, 3, 0).tolist()
    assert loader.pruner.stats.seen.equal(~damaged)
    assert loader.pruner.stats["loss"][~damaged].equal(loss_of(torch.arange(24))[~damaged])


def mask_of_the_whole(samples: list[Any]) -> Any:
    kept = [sample is not None for sample in samples]
    return KeptSamples(torch.stack([sample for sample in samples if sample is not None]), kept)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_what_was_kept_may_be_told_by_true_and_false(num_workers: int) -> None:
    dataloader = DataLoader(Damaged(24), batch_size=8, collate_fn=mask_of_the_whole, num_workers=num_workers)
    loader = emprune.PrunedLoader(dataloader, "random", num_epochs=1, keep=0.5)
    for index, batch in loader.batches():
        assert index.equal(batch)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_evaluation_hands_out_the_batch_of_the_samples_that_were_kept(num_workers: int) -> None:
    dataloader = DataLoader(Damaged(24), batch_size=8, collate_fn=without_damaged, num_workers=num_workers)
    loader = emprune.PrunedLoader(dataloader, "greedy", num_epochs=3, keep=0.5)
    assert torch.cat(list(loader.evaluation())).tolist() == [i for i in range(24) if i % 5]


@pytest.mark.parametrize(
    ("kept", "found"),
    [
        ([0, 0], "0 twice"),
        ([4], "4 to 4"),
        ([-1], "-1"),
        ([0.9], "(1,) float64"),
        ([True, False], "(2,) bool"),
        (torch.tensor([[0]]), "(1, 1) int64"),
    ],
)
def test_what_was_kept_must_be_positions_in_the_list(kept: Any, found: str, raises: Raises) -> None:
    loader = emprune.PrunedLoader(
        DataLoader(Positions(24), batch_size=4, collate_fn=lambda samples: KeptSamples(torch.stack(samples), kept)),
        "random",
        num_epochs=1,
        keep=0.5,
    )
    loader.set_epoch(0)
    with raises(emprune.ConfigError, parameter="KeptSamples.kept", value=found):
        next(iter(loader))


# Loaders that somebody else has prepared.


class Foreign:
    """What a framework returns, by its module."""


@pytest.mark.parametrize("module", ["accelerate.data_loader", "lightning.fabric.wrappers", "lightning_fabric.wrappers"])
def test_what_a_framework_has_prepared_is_refused_with_what_to_hand_over(module: str, raises: Raises) -> None:
    prepared = type("Prepared", (Foreign,), {"__module__": module})()
    with raises(emprune.ConfigError, parameter="dataloader", value="Prepared"):
        emprune.PrunedLoader(prepared, "greedy", num_epochs=3, keep=0.5)


# The budget.


def test_a_loader_makes_the_pruner_that_one_would_make_before() -> None:
    loader = make_loader(method=emprune.Greedy(), seed=7, tail_epochs=1, num_epochs=4)
    pruner = emprune.DataPruner("greedy", num_samples=24, num_epochs=4, keep=0.5, seed=7, tail_epochs=1)
    other = emprune.PrunedLoader(DataLoader(Positions(24), batch_size=4, shuffle=True), pruner)
    assert other.pruner is pruner
    for epoch in range(4):
        for one in (loader, other):
            one.set_epoch(epoch)
            train(one)
    assert_same_state(loader.state_dict(), other.state_dict())


@pytest.mark.parametrize(
    ("options", "parameter", "value"),
    [
        ({"num_epochs": None}, "num_epochs", None),
        ({"keep": None}, "keep", None),
        ({"keep": 30}, "keep", 30),
        ({"num_epochs": 0}, "num_epochs", 0),
        ({"method": emprune.Greedy}, "method", emprune.Greedy),
        ({"method": "greeedy"}, None, "greeedy"),
        ({"nonfinite": "ignore"}, "nonfinite", "ignore"),
        ({"accumulation": 0}, "accumulation", 0),
        ({"seed": 0.5}, "seed", 0.5),
        ({"num_epochs": 10**9}, "num_epochs", 10**9),
        ({"num_epochs": None, "num_steps": 10**12}, "num_steps", 10**12),
    ],
    ids=str,
)
def test_a_budget_that_is_none_is_refused(
    options: dict[str, Any], parameter: str | None, value: Any, raises: Raises
) -> None:
    with raises(emprune.ConfigError, parameter=parameter, value=value):
        make_loader(**options)


@pytest.mark.parametrize(
    "budget", [{"num_epochs": 3}, {"keep": 0.5}, {"seed": 1}, {"warmup_epochs": 1}, {"nonfinite": "skip"}], ids=str
)
def test_a_budget_beside_a_pruner_is_refused(budget: dict[str, Any], raises: Raises) -> None:
    pruner = emprune.DataPruner("greedy", num_samples=24, num_epochs=3, keep=0.5)
    [(name, value)] = budget.items()
    with raises(emprune.ConfigError, parameter=name, value=value):
        emprune.PrunedLoader(DataLoader(Positions(24), batch_size=4), pruner, **budget)


def test_full_needs_no_keep() -> None:
    loader = emprune.PrunedLoader(DataLoader(Positions(24), batch_size=4), "full", num_epochs=2)
    assert [train(loader) for _ in loader.epochs()] == [24, 24]


# What is shown.


def test_a_loader_reads_as_what_it_is() -> None:
    loader = make_loader(tail_epochs=1, num_epochs=4)
    assert repr(loader) == (
        "PrunedLoader(DataPruner(Greedy(), num_samples=24, num_epochs=4, keep=0.5, tail_epochs=1, seed=0: not begun), "
        "batch_size=4, accumulation=1, drop_last=False)"
    )
    loader.set_epoch(0)
    assert "in epoch 0" in repr(loader)


def test_a_batch_sampler_over_a_random_sampler_is_a_batch_size() -> None:
    dataset = Positions(24)
    dataloader = DataLoader(dataset, batch_sampler=BatchSampler(RandomSampler(dataset), 6, True))
    loader = emprune.PrunedLoader(dataloader, "random", num_epochs=2, keep=0.5)
    assert (loader.batch_size, loader.drop_last) == (6, True)
    assert [len(list(loader)) for _ in loader.epochs()] == [2, 2]


# A budget in steps.


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("method", ["greedy", "infobatch", "full"])
@pytest.mark.parametrize("num_steps", [1, 2, 7, 30])
def test_a_budget_in_steps_is_met_exactly(num_steps: int, method: str, accumulation: int) -> None:
    keep = None if method == "full" else 0.5
    loader = make_loader(
        method=method, keep=keep, num_epochs=None, num_steps=num_steps, accumulation=accumulation, batch_size=5
    )
    assert loader.total_steps == loader.steps_left == num_steps
    steps = batches = 0
    for index, _ in loader.batches():
        loader.reduce(index, loss_of(index))
        batches += 1
        steps += batches % accumulation == 0 or loader.num_delivered == len(loader.pruner.plan)
        if loader.num_delivered == len(loader.pruner.plan):
            batches = 0
        assert loader.steps_left == num_steps - steps
    assert steps == num_steps


def test_a_run_of_so_many_steps_resumes_exactly() -> None:
    def steps(loader: emprune.PrunedLoader, stop: int | None = None) -> list[int]:
        seen: list[int] = []
        for count, (index, _) in enumerate(loader.batches(), start=1):
            loader.reduce(index, loss_of(index))
            seen += index.tolist()
            if count == stop:
                break
        return seen

    def fresh() -> Any:
        return make_loader(num_epochs=None, num_steps=13)

    whole = steps(fresh())
    for stop in range(1, 13):
        stopped, resumed = fresh(), fresh()
        first = steps(stopped, stop)
        resumed.load_state_dict(stopped.state_dict())
        assert resumed.steps_left == 13 - stop
        assert first + steps(resumed) == whole
    other = make_loader(num_epochs=resumed.pruner.num_epochs)
    with pytest.raises(emprune.errors.StateError, match="`num_steps`"):
        other.load_state_dict(resumed.state_dict())


def test_a_run_of_so_many_steps_is_resumed_with_as_many_samples_in_a_step(raises: Raises) -> None:
    stopped, other = (make_loader(num_epochs=None, num_steps=12, batch_size=size) for size in (2, 6))
    for index, _ in stopped.batches():
        stopped.reduce(index, loss_of(index))
        break
    assert stopped.pruner.num_epochs != other.pruner.num_epochs
    with raises(emprune.errors.StateError, parameter="num_epochs", value=stopped.pruner.num_epochs):
        other.load_state_dict(stopped.state_dict())
    same = make_loader(num_epochs=None, num_steps=12, batch_size=1, accumulation=2)
    same.load_state_dict(stopped.state_dict())
    assert same.steps_left == 11
    assert len(list(same.batches())) == 22


def test_another_keep_of_a_run_of_so_many_steps_is_blamed_and_not_the_epochs_that_follow(raises: Raises) -> None:
    saved, other = (make_loader(num_epochs=None, num_steps=12, keep=keep) for keep in (0.25, 0.75))
    with raises(emprune.errors.StateError, parameter="keep", value=0.25):
        other.load_state_dict(saved.state_dict())


def test_epochs_and_steps_at_once_are_refused(raises: Raises) -> None:
    with raises(emprune.ConfigError, parameter="num_steps", value=30):
        make_loader(num_steps=30)


@pytest.mark.parametrize("transform", [5, "flip"])
def test_a_transform_that_is_no_function_is_refused_when_the_loader_is_made(transform: Any, raises: Raises) -> None:
    with raises(emprune.ConfigError, parameter="transform", value=transform):
        emprune.ArrayLoader((torch.arange(24),), "random", batch_size=4, num_epochs=2, keep=0.5, transform=transform)
