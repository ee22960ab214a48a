"""Workers that persist over epochs give what new ones would: the same random numbers, and the epoch's own dataset."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info
from torchdata.stateful_dataloader import StatefulDataLoader

import emprune

NUM_EPOCHS = 3


class Augmented(Dataset[Tensor]):
    """A sample is its position, the epoch that the dataset was told, and a number of each random generator."""

    def __init__(self, size: int) -> None:
        self.size, self.epoch = size, -1

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Tensor:
        return torch.tensor([index, self.epoch, torch.rand(()).item(), random.random(), np.random.rand()])  # noqa: NPY002


def seed_numpy_alone(worker_id: int) -> None:
    np.random.seed(worker_id)  # noqa: NPY002


def make(
    *,
    persistent: bool,
    size: int = 24,
    cls: type[DataLoader[Any]] = DataLoader,
    workers: int = 2,
    tail_epochs: int = 0,
    **options: Any,
) -> emprune.PrunedLoader:
    dataloader = cls(
        Augmented(size), batch_size=3, shuffle=True, num_workers=workers, persistent_workers=persistent, **options
    )
    return emprune.PrunedLoader(dataloader, "random", num_epochs=NUM_EPOCHS, keep=0.5, tail_epochs=tail_epochs)


def rows(loader: emprune.PrunedLoader) -> list[Tensor]:
    return [torch.cat([batch for _, batch in loader]) for _ in loader.epochs()]


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning")  # torchdata calls it
@pytest.mark.parametrize("cls", [DataLoader, StatefulDataLoader])
@pytest.mark.parametrize(("size", "tail"), [(24, 0), (12, 1)], ids=["all at work", "one without a batch at first"])
def test_workers_that_persist_draw_what_new_ones_would(cls: type[DataLoader[Any]], size: int, tail: int) -> None:
    new, persistent = (rows(make(persistent=it, cls=cls, size=size, tail_epochs=tail)) for it in (False, True))
    assert all(one.equal(other) for one, other in zip(new, persistent, strict=True))
    drawn = torch.cat(persistent)[:, 2:].flatten().tolist()
    assert len(set(drawn)) == len(drawn)


def test_a_dataset_is_told_its_epoch_in_workers_that_persist() -> None:
    assert [part[:, 1].unique().tolist() for part in rows(make(persistent=True))] == [[0], [1], [2]]


def test_a_second_pass_over_an_epoch_draws_the_same_again() -> None:
    loader = make(persistent=True)
    loader.set_epoch(0)
    one, other = (torch.cat([batch for _, batch in loader]) for _ in range(2))
    assert one.equal(other)


def test_a_resumed_run_draws_what_the_whole_one_did() -> None:
    whole = rows(make(persistent=True))
    loader = make(persistent=True)
    epochs = loader.epochs()
    next(epochs)
    list(loader)
    state = loader.state_dict()
    resumed = make(persistent=True)
    resumed.load_state_dict(state)
    assert all(one.equal(other) for one, other in zip(rows(resumed), whole[1:], strict=True))


def test_what_a_worker_init_fn_seeds_stays_in_the_pass_that_the_worker_began_in() -> None:
    first = rows(make(persistent=True, worker_init_fn=seed_numpy_alone))[0]
    assert first[0, 4] == np.random.RandomState(0).rand()


def test_a_generator_of_the_users_seeds_workers_once() -> None:
    loader = make(persistent=True, generator=torch.Generator().manual_seed(1))
    drawn = torch.cat(rows(loader))[:, 2].tolist()
    assert len(set(drawn)) == len(drawn)


def test_without_workers_nothing_is_seeded() -> None:
    loader = make(persistent=False, workers=0)
    assert get_worker_info() is None
    loader.set_epoch(0)
    list(loader)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    loader.peek()
    assert torch.random.get_rng_state().equal(before)
