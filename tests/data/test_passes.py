"""Passes over one epoch, one within another: which of them counts, and which one ends the epoch."""

import copy
import pickle

import pytest
from torch.utils.data import DataLoader

import emprune
from emprune.testing import assert_same_state
from tests.data.datasets import Positions
from tests.data.helpers import loss_of, make_loader, make_pruner, train
from tests.messages import Raises


def make_run(**options: object) -> emprune.PrunedLoader:
    dataloader: DataLoader[int] = DataLoader(Positions(24), batch_size=4, **options)  # type: ignore[arg-type]
    return emprune.PrunedLoader(dataloader, "random", num_epochs=2, keep=0.5)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_whole_pass_that_looks_within_a_pass_leaves_the_rest_of_it_to_be_resumed(num_workers: int) -> None:
    whole, loader = make_run(), make_run(num_workers=num_workers)
    whole.set_epoch(0)
    expected = [index.tolist() for index, _ in whole]
    loader.set_epoch(0)
    for number, (index, _) in enumerate(loader):
        loader.reduce(index, loss_of(index))
        assert [inner.tolist() for inner, _ in loader] == expected
        assert loader.num_delivered == 4 * (number + 1)
        resumed = make_run()
        resumed.load_state_dict(loader.state_dict())
        assert next(resumed.epochs()) == resumed.start_epoch == 0
        assert [rest.tolist() for rest, _ in resumed] == expected[number + 1 :]
    assert loader.start_epoch == 1


def test_a_whole_pass_that_trains_ends_the_epoch_though_another_is_held(raises: Raises) -> None:
    pruner = make_pruner()
    loader = make_loader(pruner)
    loader.set_epoch(0)
    held = iter(loader)
    next(held)
    train(pruner, loader)
    assert loader.start_epoch == 1
    assert loader.num_delivered == len(pruner.plan)
    index, _ = next(held)
    pruner.observe(index, loss_of(index))
    with raises(emprune.errors.EpochError, value=0):
        next(held)


def test_after_a_pass_that_was_broken_off_another_one_ends_the_epoch() -> None:
    loader = make_run()
    loader.set_epoch(0)
    for _ in loader:
        break
    assert len(list(loader)) == 3
    assert loader.start_epoch == 1


def test_a_copy_that_is_made_within_a_pass_goes_on_with_a_pass_of_its_own() -> None:
    loader = make_run()
    loader.set_epoch(0)
    for _ in loader:
        for again in (copy.deepcopy(loader), pickle.loads(pickle.dumps(loader))):
            assert_same_state(again.state_dict(), loader.state_dict())
            assert len(list(again)) == 3
            assert again.start_epoch == 1
        break


def train_until(loader: emprune.PrunedLoader, stop: int | None = None) -> list[tuple[int, list[int]]]:
    """Train on what `batches` gives, and break off after so many; return each batch with its epoch."""
    trained = list[tuple[int, list[int]]]()
    for index, _ in loader.batches():
        loader.reduce(index, loss_of(index))
        trained.append((loader.pruner.epoch, index.tolist()))
        if len(trained) == stop:
            break
    return trained


@pytest.mark.parametrize("stop", range(1, 7))
def test_batches_called_again_after_a_break_go_on_and_the_run_costs_what_it_may(stop: int) -> None:
    loader = make_run()
    whole = train_until(make_run())
    first = train_until(loader, stop)
    assert loader.steps_left == 6 - stop
    assert first + train_until(loader) == whole
    assert int(loader.pruner.visits.sum()) == 24
    assert loader.steps_left == 0


def test_epochs_called_again_after_a_break_go_on_as_a_resumed_run_does() -> None:
    loader, resumed = make_run(num_workers=2, persistent_workers=True), make_run()
    train_until(loader, 2)
    resumed.load_state_dict(loader.state_dict())
    expected = [(epoch, index.tolist()) for epoch in resumed.epochs() for index, _ in resumed]
    assert [(epoch, index.tolist()) for epoch in loader.epochs() for index, _ in loader] == expected
    assert [epoch for epoch, _ in expected] == [0, 1, 1, 1]


def test_a_pass_that_was_held_does_not_go_on_after_epochs_was_called_again(raises: Raises) -> None:
    loader = make_run()
    loader.set_epoch(0)
    held = iter(loader)
    next(held)
    assert next(again := loader.epochs()) == 0
    next(iter(loader))
    with raises(emprune.errors.EpochError):
        next(held)
    assert len(list(loader)) == 2  # a new pass begins there too, as after a load
    assert list(again) == [1]
