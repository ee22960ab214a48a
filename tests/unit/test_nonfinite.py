"""What happens to a sample whose loss is not finite."""

import pytest
import torch

import emprune
from emprune.testing import assert_same_state, through_disk
from tests.messages import Raises
from tests.unit.support import as_memory, chosen, inf, make_pruner, nan

BAD = [nan, inf, -inf]


def spoiled(
    nonfinite: str, bad: float = nan, method: emprune.Method | None = None
) -> tuple[emprune.DataPruner, list[int]]:
    """Ten samples, five of them per epoch: all are seen by epoch 1; in epoch 2 the first of the plan goes bad."""
    pruner = make_pruner(method, num_epochs=6, nonfinite=nonfinite)
    for epoch in (0, 1):
        index = pruner.begin_epoch(epoch).index
        pruner.observe(index, 1.0 + index, index.float())
    index = pruner.begin_epoch(2).index
    losses = 10.0 + index
    losses[0] = bad
    pruner.observe(index, losses, index.float())
    return pruner, index.tolist()


@pytest.mark.parametrize("bad", BAD)
def test_it_is_an_error_at_the_next_fold_and_leaves_the_state_untouched(bad: float, raises: Raises) -> None:
    pruner, (first, *_) = spoiled("error", bad)
    before = through_disk(pruner.state_dict())
    for fold in (pruner.sync, lambda: pruner.begin_epoch(3), pruner.sync):
        with raises(emprune.errors.ObservationError, value=first):
            fold()
        assert pruner.epoch == 2
        assert_same_state(pruner.state_dict(), before)


def test_in_the_step_itself_nothing_is_raised() -> None:
    pruner, index = spoiled("error")
    losses = torch.full((5,), nan, requires_grad=True)
    assert pruner.reduce(torch.tensor(index), losses).isnan()


def test_a_later_good_observation_heals_it() -> None:
    pruner, (first, *_) = spoiled("error")
    pruner.observe(torch.tensor([first]), torch.tensor([3.0]))
    pruner.begin_epoch(3)
    assert float(pruner.stats["loss"][first]) == 3.0


def test_a_run_stopped_by_it_can_be_resumed_with_another_policy() -> None:
    pruner, (first, *_) = spoiled("error")
    resumed = make_pruner(num_epochs=6, nonfinite="skip")
    resumed.load_state_dict(through_disk(pruner.state_dict()))
    resumed.begin_epoch(3)
    assert float(resumed.stats["loss"][first]) == 1.0 + first


@pytest.mark.parametrize("bad", BAD)
def test_skip_keeps_what_was_remembered_and_counts_the_visit(bad: float) -> None:
    pruner, (first, *others) = spoiled("skip", bad)
    pruner.begin_epoch(3)
    assert float(pruner.stats["loss"][first]) == 1.0 + first
    assert int(pruner.stats["last_visit"][first]) < 2
    assert int(pruner.stats["visits"][first]) == 2
    assert pruner.stats["loss"][others].tolist() == [10.0 + other for other in others]
    assert bool(pruner.stats.seen.all())


@pytest.mark.parametrize("bad", BAD)
def test_revisit_forgets_the_sample_so_that_it_comes_first(bad: float) -> None:
    pruner, (first, *_) = spoiled("revisit", bad, emprune.methods.UCB(replan_every=1))
    plan = pruner.begin_epoch(3)
    assert first in chosen(plan)
    assert int(pruner.stats.seen.count_nonzero()) == 9
    pruner.observe(plan.index, torch.full((5,), 7.0))
    pruner.sync()
    assert float(pruner.stats["mean"][first]) == 7.0  # started anew
    assert float(pruner.stats["variance"][first]) == 0.0


def test_revisit_places_a_sample_that_its_score_would_not() -> None:
    pruner = make_pruner(num_samples=10, num_epochs=9, keep=0.2, nonfinite="revisit")
    for epoch in range(5):
        index = pruner.begin_epoch(epoch).index
        pruner.observe(index, torch.zeros(2))
    index = pruner.begin_epoch(5).index
    pruner.observe(index, torch.tensor([nan, 100.0]))
    assert index.tolist()[0] in chosen(pruner.begin_epoch(6))


@pytest.mark.parametrize("nonfinite", ["skip", "revisit"])
def test_one_infinite_loss_does_not_change_what_becomes_of_the_others(nonfinite: str) -> None:
    pruner = make_pruner(emprune.InfoBatch(), num_samples=100, num_epochs=4, keep=0.9, nonfinite=nonfinite)
    for epoch in (0, 1):
        index = pruner.begin_epoch(epoch).index
        pruner.observe(index, 1.0 + index % 2)
    index = pruner.begin_epoch(2).index
    losses = 1.0 + index % 2
    losses[0] = inf
    pruner.observe(index, losses)
    weight = pruner.begin_epoch(3).weight
    assert weight is not None
    assert int((weight == 1).count_nonzero()) in (49, 50, 51)  # the upper half, not everything


@pytest.mark.parametrize("nonfinite", ["skip", "revisit"])
def test_a_first_visit_that_is_not_finite_is_no_visit_to_remember(nonfinite: str) -> None:
    pruner = make_pruner(nonfinite=nonfinite)
    index = pruner.begin_epoch(0).index
    losses = torch.ones(5)
    losses[2] = nan
    pruner.observe(index, losses)
    unseen = set(range(10)) - set(index.tolist()) | {int(index[2])}
    plan = pruner.begin_epoch(1)
    assert chosen(plan) < unseen  # five of six
    pruner.observe(plan.index, torch.ones(5))
    assert chosen(pruner.begin_epoch(2)) > unseen - chosen(plan)


@pytest.mark.parametrize("nonfinite", ["skip", "revisit"])
@pytest.mark.parametrize("method", [emprune.Greedy(), emprune.RandomPermutation(), emprune.EMP(pool=2)])
def test_samples_that_never_have_a_finite_loss_do_not_take_over_the_run(method: emprune.Method, nonfinite: str) -> None:
    pruner = make_pruner(method, num_samples=100, num_epochs=30, keep=0.3, nonfinite=nonfinite)
    damaged = torch.arange(100) < 40
    planned = []
    for epoch in range(30):
        index = pruner.begin_epoch(epoch).index
        losses = torch.rand(30).masked_fill(damaged[index], nan)
        pruner.observe(index, losses, torch.rand(30, 10))
        planned.append(int(damaged[index].count_nonzero()))
    assert sum(planned) == 2 * 40
    assert not any(planned[-20:])


def test_where_an_epoch_is_not_full_without_them_they_fill_it() -> None:
    pruner = make_pruner(num_samples=10, num_epochs=12, keep=0.5, nonfinite="skip")
    damaged = torch.arange(10) < 8
    for epoch in range(12):
        index = pruner.begin_epoch(epoch).index
        assert len(index.unique()) == 5
        pruner.observe(index, torch.rand(5).masked_fill(damaged[index], nan))
    assert {8, 9} < set(index.tolist())


def test_a_sample_that_was_given_up_is_as_any_other_once_it_has_a_loss() -> None:
    pruner = make_pruner(num_samples=4, num_epochs=9, keep=1.0, nonfinite="skip")
    for epoch in range(4):
        index = pruner.begin_epoch(epoch).index
        pruner.observe(index, torch.rand(4).masked_fill(index == 0, nan))
    index = pruner.begin_epoch(4).index
    assert bool(pruner.stats.given_up[0])
    pruner.observe(index, torch.rand(4))
    pruner.sync()
    assert bool(pruner.stats.seen.all())
    assert int(pruner.stats["last_visit"][0]) == 4


def test_an_observation_in_vain_after_a_good_one_of_the_same_epoch_is_no_second_visit() -> None:
    pruner = make_pruner(num_epochs=6, nonfinite="skip")
    index = pruner.begin_epoch(0).index
    for losses in (torch.ones(5), torch.full((5,), nan)):
        pruner.observe(index, losses)
        pruner.sync()
    assert pruner.stats["visits"][index].tolist() == [1] * 5


@pytest.mark.parametrize("which", ["loss", "memory"])
@pytest.mark.parametrize("bad", BAD)
def test_a_memory_term_that_is_not_finite_counts_as_the_loss_does(which: str, bad: float) -> None:
    pruner = make_pruner(emprune.EMP(memory=as_memory), nonfinite="skip")
    index = pruner.begin_epoch(0).index
    values = torch.ones(5)
    spoilt = values.clone()
    spoilt[1] = bad
    pruner.observe(index, *((spoilt, values) if which == "loss" else (values, spoilt)))
    pruner.sync()
    assert sorted(pruner.stats.seen.nonzero().flatten().tolist()) == sorted(index[[0, 2, 3, 4]].tolist())


def test_the_message_names_a_few_of_many(raises: Raises) -> None:
    pruner = make_pruner(num_samples=100, keep=0.5)
    index = pruner.begin_epoch(0).index
    pruner.observe(index, torch.full((50,), nan))
    with raises(emprune.errors.ObservationError, value=50):
        pruner.sync()


def test_a_loss_too_large_for_float32_is_not_finite(raises: Raises) -> None:
    pruner = make_pruner()
    index = pruner.begin_epoch(0).index
    pruner.observe(index, torch.full((5,), 1e300, dtype=torch.float64))
    with raises(emprune.errors.ObservationError, value=5):
        pruner.sync()


def test_other_policies_are_refused(raises: Raises) -> None:
    with raises(emprune.ConfigError, parameter="nonfinite", value="drop"):
        make_pruner(nonfinite="drop")


@pytest.mark.parametrize("method", [emprune.Random(), emprune.methods.StaticRandom(), emprune.Full()])
def test_methods_that_do_not_score_look_too(method: emprune.Method, raises: Raises) -> None:
    pruner = make_pruner(method, keep=1 if isinstance(method, emprune.Full) else 0.5)
    index = pruner.begin_epoch(0).index
    pruner.observe(index, torch.full((len(index),), nan))
    with raises(emprune.errors.ObservationError, value=len(index)):
        pruner.begin_epoch(1)


@pytest.mark.parametrize("nonfinite", ["error", "skip", "revisit"])
@pytest.mark.parametrize("between", ["nothing", "a save", "a fold"])
def test_the_last_finite_observation_of_an_epoch_counts_whatever_follows(between: str, nonfinite: str) -> None:
    pruner = make_pruner(nonfinite=nonfinite)
    index = pruner.begin_epoch(0).index
    pruner.observe(index, torch.ones(5))
    pruner.observe(index, torch.full((5,), 2.0))
    if between == "a save":
        pruner.state_dict()
    elif between == "a fold":
        pruner.sync()
    pruner.observe(index[1:3], torch.tensor([nan, 3.0]))
    pruner.begin_epoch(1)
    assert pruner.stats["loss"][index].tolist() == [2.0, 2.0, 3.0, 2.0, 2.0]
    assert pruner.stats["last_visit"][index].tolist() == [0] * 5
    assert pruner.stats["failures"][index].tolist() == [0] * 5
    assert pruner.stats["visits"][index].tolist() == [1] * 5


def test_what_is_left_out_after_it_was_observed_has_not_failed() -> None:
    pruner = make_pruner()
    index = pruner.begin_epoch(0).index
    pruner.observe(index, torch.ones(5))
    pruner.sync()
    pruner.leave_out(index[:1])
    pruner.sync()
    assert pruner.stats["failures"][index].tolist() == [0] * 5


def test_a_sample_with_a_forgotten_loss_is_given_up_after_two_failures_in_a_row() -> None:
    pruner = make_pruner(num_samples=10, num_epochs=9, keep=0.2, nonfinite="revisit")
    for epoch in range(5):
        pruner.observe(pruner.begin_epoch(epoch).index, torch.zeros(2))
    index = pruner.begin_epoch(5).index
    first = int(index[0])
    for epoch in (5, 6):
        index = pruner.begin_epoch(epoch).index
        assert first in index
        pruner.observe(index, torch.zeros(2).masked_fill(index == first, nan))
    assert first not in pruner.begin_epoch(7).index
    assert bool(pruner.stats.given_up[first])
