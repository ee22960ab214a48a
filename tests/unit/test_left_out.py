"""What becomes of a sample that was planned and could not be used."""

import pytest
import torch
from torch import Tensor

import emprune
from emprune.errors import EpochError, ObservationError
from emprune.testing import assert_same_state, through_disk
from tests.messages import Raises
from tests.unit.support import chosen, make_pruner, nan

POLICIES = ["error", "skip", "revisit"]


def visit(pruner: emprune.DataPruner, epoch: int, damaged: Tensor) -> int:
    """Plan an epoch and observe what is not damaged; return how many could not be used."""
    index = pruner.begin_epoch(epoch).index
    bad = damaged[index]
    if not bool(bad.all()):
        pruner.observe(index[~bad], torch.rand(int((~bad).count_nonzero())), torch.rand(int((~bad).count_nonzero()), 9))
    pruner.leave_out(index[bad])
    return int(bad.count_nonzero())


@pytest.mark.parametrize("nonfinite", POLICIES)
@pytest.mark.parametrize("method", [emprune.Greedy(), emprune.RandomPermutation(), emprune.EMP(pool=2)])
def test_samples_that_cannot_be_used_do_not_take_over_the_run(method: emprune.Method, nonfinite: str) -> None:
    pruner = make_pruner(method, num_samples=100, num_epochs=30, keep=0.3, nonfinite=nonfinite)
    damaged = torch.arange(100) < 40
    planned = [visit(pruner, epoch, damaged) for epoch in range(30)]
    assert sum(planned) == 2 * 40
    assert not any(planned[-20:])
    assert int(pruner.visits.sum()) == 30 * 30


@pytest.mark.parametrize("nonfinite", POLICIES)
def test_a_sample_that_was_seen_before_keeps_what_is_remembered(nonfinite: str) -> None:
    pruner = make_pruner(keep=1.0, nonfinite=nonfinite)
    index = pruner.begin_epoch(0).index
    pruner.observe(index, 1.0 + index)
    for epoch in (1, 2, 3):
        assert visit(pruner, epoch, torch.arange(10) == 3) == 1
    pruner.sync()
    assert float(pruner.stats["loss"][3]) == 4.0
    assert int(pruner.stats["last_visit"][3]) == 0
    assert pruner.visits.tolist() == [4] * 10


def test_a_sample_that_was_given_up_is_as_any_other_once_it_could_be_used() -> None:
    pruner = make_pruner(num_samples=4, keep=1.0)
    for epoch in (0, 1):
        visit(pruner, epoch, torch.arange(4) == 0)
    pruner.begin_epoch(2)
    assert pruner.stats.given_up.tolist() == [True, False, False, False]
    pruner.observe(pruner.plan.index, torch.rand(4))
    pruner.begin_epoch(3)
    assert not bool(pruner.stats.given_up.any())
    assert pruner.stats["failures"].tolist() == [0] * 4


def test_it_counts_once_an_epoch_however_often_it_is_folded() -> None:
    pruner = make_pruner()
    index = pruner.begin_epoch(0).index
    pruner.observe(index[1:], torch.rand(4))
    for _ in range(2):
        pruner.leave_out(index[:1])
        pruner.leave_out(index[:1])
        assert pruner.visits[index].tolist() == [1] * 5
        pruner.load_state_dict(through_disk(pruner.state_dict()))
    assert pruner.stats["failures"][index].tolist() == [1, 0, 0, 0, 0]
    assert pruner.visits.sum() == pruner.stats["visits"].sum() == 5


def test_what_was_observed_in_the_same_epoch_counts_and_not_that_it_was_left_out() -> None:
    apart, together = make_pruner(), make_pruner()
    for pruner in (apart, together):
        index = pruner.begin_epoch(0).index
        pruner.leave_out(index[:2])
        if pruner is apart:
            pruner.sync()
        pruner.observe(index, torch.full((5,), 2.0))
        pruner.sync()
        assert pruner.stats["visits"][index].tolist() == [1] * 5
        assert pruner.stats["failures"][index].tolist() == [0] * 5
        assert pruner.stats["loss"][index].tolist() == [2.0] * 5


def test_a_loss_that_is_not_finite_is_still_an_error_beside_it(raises: Raises) -> None:
    pruner = make_pruner()
    index = pruner.begin_epoch(0).index
    pruner.leave_out(index[:2])
    pruner.observe(index[2:], torch.tensor([1.0, nan, 1.0]))
    with raises(ObservationError, value=int(index[3])):
        pruner.begin_epoch(1)


def test_revisit_is_about_losses_and_forgets_no_sample_that_was_left_out() -> None:
    pruner = make_pruner(keep=1.0, nonfinite="revisit")
    index = pruner.begin_epoch(0).index
    pruner.observe(index, torch.rand(10))
    index = pruner.begin_epoch(1).index
    pruner.leave_out(index[:1])
    pruner.observe(index[1:], torch.rand(9).masked_fill(torch.arange(9) == 4, nan))
    pruner.begin_epoch(2)
    assert (~pruner.stats.seen).nonzero().flatten().tolist() == [int(index[5])]


def test_an_epoch_of_which_nothing_could_be_used_is_not_taken_for_a_loop_without_reduce() -> None:
    pruner = make_pruner()
    pruner.leave_out(pruner.begin_epoch(0).index)
    assert len(chosen(pruner.begin_epoch(1))) == 5
    pruner.leave_out(pruner.plan.index[:4])
    with pytest.raises(EpochError, match="saw no observation"):
        pruner.begin_epoch(2)


def test_a_state_goes_on_as_if_it_had_not_been_saved() -> None:
    damaged = torch.arange(40) < 15
    states = []
    for stop in (None, 3):
        torch.manual_seed(0)
        pruner = make_pruner(num_samples=40, num_epochs=8, keep=0.3)
        for epoch in range(8):
            visit(pruner, epoch, damaged)
            if epoch == stop:
                saved = through_disk(pruner.state_dict())
                pruner = make_pruner(num_samples=40, num_epochs=8, keep=0.3)
                pruner.load_state_dict(saved)
        states.append(pruner.state_dict())
    assert_same_state(states[1], states[0])


def test_it_must_be_of_the_plan(raises: Raises) -> None:
    pruner = make_pruner()
    with pytest.raises(EpochError):
        pruner.leave_out(torch.tensor([0]))
    stray = min(set(range(10)) - chosen(pruner.begin_epoch(0)))
    with raises(ObservationError, value=stray):
        pruner.leave_out(torch.tensor([stray]))
