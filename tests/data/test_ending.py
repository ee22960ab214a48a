"""What happens when a run's last epoch is over: it is folded, what is wrong is said, and the run is not begun again."""

from typing import Any

import pytest
import torch

import emprune
from emprune.errors import EmpruneWarning, EpochError, ObservationError
from emprune.testing import through_disk
from tests.messages import Raises

SIZE = 12


def loader_of(method: str = "greedy", **options: Any) -> emprune.ArrayLoader:
    return emprune.ArrayLoader((torch.arange(SIZE),), method, batch_size=3, num_epochs=2, keep=1.0, **options)


def observe_epoch(loader: emprune.ArrayLoader) -> int:
    """Observe losses of 1 for what is left of the epoch; return how many."""
    num_observed = 0
    for index, _ in loader:
        loader.reduce(index, torch.ones(len(index)))
        num_observed += len(index)
    return num_observed


def train(loader: emprune.ArrayLoader, *, first: float = 1.0, last: float = 1.0, observe: bool = True) -> None:
    """Observe the same losses in all batches of the first epoch, and of the last."""
    for epoch in loader.epochs():
        for index, _ in loader:
            if observe:
                loader.reduce(index, torch.full((3,), last if epoch == 1 else first))


def test_what_the_last_epoch_observed_is_folded() -> None:
    loader = loader_of()
    train(loader, last=7.0)
    assert loader.pruner.stats["loss"].eq(7).all()
    assert loader.pruner.mean_loss == 7


def test_a_run_that_is_over_is_not_looped_over_again(raises: Raises) -> None:
    loader = loader_of()
    train(loader)
    with raises(EpochError):
        next(loader.epochs())
    with raises(EpochError):
        next(loader.batches())


def test_after_a_load_a_run_that_is_over_has_no_epochs_and_its_losses_are_folded() -> None:
    loader, again = loader_of(), loader_of()
    for _ in loader.epochs():
        for index, _ in loader:
            loader.reduce(index, torch.ones(3))
        state = through_disk(loader.state_dict())
    again.load_state_dict(state)
    assert list(again.epochs()) == list(again.epochs()) == []
    assert again.pruner.stats["loss"].eq(1).all()


def test_values_of_the_last_epoch_that_are_not_finite_are_a_warning() -> None:
    loader = loader_of()
    with pytest.warns(EmpruneWarning, match="The run's last epoch was not folded whole. Losses .* must be finite"):
        train(loader, last=float("inf"))
    assert loader.pruner.stats["loss"].eq(1).all()


def test_values_of_the_last_epoch_alone_may_be_saved_though_they_are_not_finite(raises: Raises) -> None:
    loader = loader_of()
    loader.set_epoch(0)
    observe_epoch(loader)
    loader.set_epoch(1)
    loader.reduce(loader.pruner.plan.index[:1], torch.tensor([torch.nan]))
    with pytest.warns(EmpruneWarning, match="Losses .* must be finite"):
        loader.sync()
    assert loader.state_dict()["pruner"]["failed"] == loader.pruner.plan.index[:1].tolist()
    earlier = loader_of()
    earlier.set_epoch(0)
    earlier.reduce(torch.tensor([5]), torch.tensor([torch.nan]))
    with raises(ObservationError, value=5):
        earlier.sync()


def test_a_method_that_scores_and_never_saw_a_loss_says_so() -> None:
    loader = emprune.ArrayLoader((torch.arange(SIZE),), "emp", batch_size=3, num_epochs=1, keep=1.0)
    with pytest.warns(EmpruneWarning, match="EMP saw no observation in the whole run"):
        train(loader, observe=False)
    train(emprune.ArrayLoader((torch.arange(SIZE),), "random", batch_size=3, num_epochs=1, keep=1.0), observe=False)


@pytest.mark.parametrize("num_epochs", [0, 1, 2])
def test_a_pruner_that_is_loaded_alone_after_an_epoch_goes_on_with_the_next(num_epochs: int) -> None:
    loader, again = loader_of(), loader_of()
    loader.set_epoch(0)
    for epoch in range(num_epochs):
        loader.set_epoch(epoch)
        assert observe_epoch(loader) == SIZE
    again.pruner.load_state_dict(through_disk(loader.pruner.state_dict()))
    assert again.start_epoch == num_epochs
    assert again.steps_left == 4 * (2 - num_epochs)
    assert [(epoch, observe_epoch(again)) for epoch in again.epochs()] == [(0, SIZE), (1, SIZE)][num_epochs:]


@pytest.mark.parametrize("has_begun", [False, True], ids=["a new loader", "one that has begun"])
def test_a_pruner_that_is_loaded_alone_within_an_epoch_has_all_of_that_epoch_delivered(has_begun: bool) -> None:
    loader, again = loader_of(), loader_of()
    if has_begun:
        again.set_epoch(0)
        list(again)
    next(loader.epochs())
    for index, _ in loader:
        loader.reduce(index, torch.ones(3))
        break
    again.pruner.load_state_dict(through_disk(loader.pruner.state_dict()))
    assert again.start_epoch == 0
    assert again.steps_left == 8
    assert [(epoch, observe_epoch(again)) for epoch in again.epochs()] == [(0, SIZE), (1, SIZE)]


@pytest.mark.parametrize("how", ["not finite", "left out"])
def test_a_pruner_that_is_loaded_alone_after_an_epoch_with_a_sample_in_vain_goes_on_with_the_next(how: str) -> None:
    loader, again = loader_of(nonfinite="skip"), loader_of(nonfinite="skip")
    loader.set_epoch(0)
    for number, (index, _) in enumerate(loader):
        losses = torch.ones(3)
        if number == 1 and how == "not finite":
            losses[0] = torch.nan
        if number == 1 and how == "left out":
            loader.pruner.leave_out(index[:1])
            index, losses = index[1:], losses[1:]
        loader.reduce(index, losses)
    again.pruner.load_state_dict(through_disk(loader.pruner.state_dict()))
    assert again.start_epoch == 1


def test_a_run_without_a_finite_loss_is_not_told_to_call_reduce() -> None:
    loader = loader_of(nonfinite="skip")
    with pytest.warns(EmpruneWarning, match="no finite loss in the whole run: all were NaN"):
        train(loader, first=torch.nan, last=torch.nan)


def test_an_epoch_that_was_looked_at_before_it_is_trained_on_is_an_error_that_says_so(raises: Raises) -> None:
    loader = loader_of()
    loader.set_epoch(0)
    assert sum(len(index) for index, _ in loader) == SIZE
    with raises(EpochError):
        observe_epoch(loader)
