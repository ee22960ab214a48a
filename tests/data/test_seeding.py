"""Random numbers in workers follow from the seed, the epoch and the batch, whoever fetches it."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info
from torchdata.stateful_dataloader import StatefulDataLoader

import emprune

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
NUM_EPOCHS = 3


class Augmented(Dataset[Tensor]):
    """A sample is its position, the epoch that was told, a number of each random generator, and who fetched it."""

    def __init__(self, size: int) -> None:
        self.size, self.epoch, self.worker = size, -1, -1

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Tensor:
        drawn = torch.rand(()).item(), random.random(), np.random.rand()  # noqa: NPY002
        return torch.tensor([index, self.epoch, *drawn, self.worker])


def name_the_worker(worker_id: int) -> None:
    info = get_worker_info()
    assert info is not None
    info.dataset.worker = worker_id  # type: ignore[attr-defined]


def make(
    *,
    persistent: bool = False,
    size: int = 24,
    cls: type[DataLoader[Any]] = DataLoader,
    workers: int = 2,
    tail_epochs: int = 0,
    seed: int = 0,
    data: type[Augmented] = Augmented,
    **options: Any,
) -> emprune.PrunedLoader:
    dataloader = cls(
        data(size), batch_size=3, shuffle=True, num_workers=workers, persistent_workers=persistent, **options
    )
    return emprune.PrunedLoader(
        dataloader, "random", num_epochs=NUM_EPOCHS, keep=0.5, tail_epochs=tail_epochs, seed=seed
    )


def rows(loader: emprune.PrunedLoader) -> list[Tensor]:
    return [torch.cat([batch for _, batch in loader]) for _ in loader.epochs()]


def assert_same(some: list[Tensor], others: list[Tensor]) -> None:
    assert all(one.equal(other) for one, other in zip(some, others, strict=True))


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning")  # torchdata calls it
@pytest.mark.parametrize("cls", [DataLoader, StatefulDataLoader])
@pytest.mark.parametrize(("size", "tail"), [(24, 0), (12, 1)], ids=["all at work", "one without a batch at first"])
def test_every_number_of_workers_draws_the_same_persisting_or_not(
    cls: type[DataLoader[Any]], size: int, tail: int
) -> None:
    one = rows(make(workers=1, cls=cls, size=size, tail_epochs=tail))
    for workers, persistent in ((2, False), (3, False), (2, True)):
        assert_same(one, rows(make(persistent=persistent, workers=workers, cls=cls, size=size, tail_epochs=tail)))
    drawn = torch.cat(one)[:, 2:5].flatten().tolist()
    assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize("persistent", [False, True])
def test_a_dataset_is_told_its_epoch_in_workers(persistent: bool) -> None:
    assert [part[:, 1].unique().tolist() for part in rows(make(persistent=persistent))] == [[0], [1], [2]]


class Partners(Augmented):
    """Draws something for an epoch, as mixed or resampled data does. A sample has it behind its other numbers."""

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        self.drawn = torch.rand(self.size)
        self.times_told = getattr(self, "times_told", 0) + 1

    def __getitem__(self, index: int) -> Tensor:
        return torch.cat([super().__getitem__(index), self.drawn[index : index + 1], torch.tensor([self.times_told])])


@pytest.mark.parametrize("persistent", [False, True])
def test_what_a_dataset_draws_for_an_epoch_is_the_same_in_every_worker(persistent: bool) -> None:
    def drawn(workers: int) -> list[Tensor]:
        torch.manual_seed(3)
        return rows(make(persistent=persistent, workers=workers, data=Partners))

    one, two = drawn(1), drawn(2)
    assert_same(one, two)
    times = [part[:, 7].unique().tolist() for part in two]
    assert times == [[1], [2], [3]]  # a worker's copy is told what the loop's was, once


def test_a_second_pass_over_an_epoch_draws_the_same_again() -> None:
    loader = make(persistent=True)
    loader.set_epoch(0)
    one, other = (torch.cat([batch for _, batch in loader]) for _ in range(2))
    assert one.equal(other)


def test_another_seed_draws_other_numbers() -> None:
    one, other = (torch.cat(rows(make(seed=seed)))[:, 2:5].flatten().tolist() for seed in (0, 1))
    assert not set(one) & set(other)


@pytest.mark.parametrize("num_delivered", [1, 2, 3], ids=lambda number: f"{number} batches")
@pytest.mark.parametrize(("workers", "persistent"), [(2, True), (3, False)])
def test_a_run_resumed_after_any_batch_draws_what_the_whole_one_did(
    num_delivered: int, workers: int, persistent: bool
) -> None:
    whole = rows(make())
    loader = make()
    epochs = loader.epochs()
    next(epochs)
    list(loader)
    next(epochs)
    batches = iter(loader)
    begun = [next(batches)[1] for _ in range(num_delivered)]
    state = loader.state_dict()
    resumed = make(workers=workers, persistent=persistent)
    resumed.load_state_dict(state)
    first, *rest = rows(resumed)
    assert_same([torch.cat([*begun, first]), *rest], whole[1:])


def test_a_dataset_is_told_the_epoch_of_a_state_before_its_first_batch() -> None:
    loader = make(workers=0)
    loader.set_epoch(0)
    list(loader)
    loader.set_epoch(1)
    next(iter(loader))
    resumed = make(workers=0)
    resumed.load_state_dict(loader.state_dict())
    assert [part[:, 1].unique().tolist() for _, part in resumed] == [[1]] * 3


def test_what_a_worker_init_fn_sets_beside_the_global_generators_stays() -> None:
    drawn = rows(make(worker_init_fn=name_the_worker))
    assert {int(row[5]) for row in torch.cat(drawn)} == {0, 1}


def test_a_generator_of_the_users_seeds_workers_once() -> None:
    loader = make(persistent=True, generator=torch.Generator().manual_seed(1))
    drawn = torch.cat(rows(loader))[:, 2].tolist()
    assert len(set(drawn)) == len(drawn)
    assert not set(drawn) & set(torch.cat(rows(make()))[:, 2].tolist())


def test_without_workers_nothing_is_seeded() -> None:
    loader = make(workers=0)
    assert get_worker_info() is None
    loader.set_epoch(0)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    loader.peek()
    assert torch.random.get_rng_state().equal(before)
    (_, first), *_ = loader
    torch.manual_seed(5)
    assert first[0, 2] == torch.rand(())
