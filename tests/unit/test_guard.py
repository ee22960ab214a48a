"""A guard: what was predicted wrong in each of its last visits is set aside, whatever the method prefers."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import emprune
from emprune.errors import ConfigError, ObservationError, StateError
from emprune.testing import SyntheticTask, assert_same_state, run_epochs, train_epoch
from tests.messages import Raises
from tests.unit.support import chosen, observe

FIRST = torch.tensor([3.0, -2.0, 1.0, -1.5, 4.0, -3.0, 0.5, 2.0, -2.5, -0.9])
SECOND = torch.tensor([3.0, -2.0, -0.2, 1.0, 4.0, -3.0, 0.5, 2.0, 0.1, -0.9])
"""Logits of the label against 0 of the other class: a prediction is right where they are above 0."""


def after_two_full_epochs(method: str, guard: int | None, *, num_kept: int = 3) -> emprune.DataPruner:
    pruner = emprune.DataPruner(
        method, num_samples=10, num_epochs=3, keep=(20 + num_kept) / 30, warmup_epochs=2, tail_epochs=0, guard=guard
    )
    for epoch, values in enumerate((FIRST, SECOND)):
        pruner.begin_epoch(epoch)
        observe(pruner, *of_label(values))
    return pruner


def of_label(values: Tensor) -> tuple[Tensor, Tensor]:
    """The losses and the logits of two classes."""
    logits = torch.stack([values, torch.zeros_like(values)], 1)
    return F.cross_entropy(logits, torch.zeros(len(values), dtype=torch.int64), reduction="none"), logits


def make_pruner(method: Any = "greedy", **options: Any) -> emprune.DataPruner:
    return emprune.DataPruner(
        method, **{"num_samples": 60, "num_epochs": 12, "keep": 0.4, "tail_epochs": 0, "guard": 2, **options}
    )


def test_ten_samples_by_hand() -> None:
    assert chosen(after_two_full_epochs("greedy", None).begin_epoch(2)) == {5, 1, 9}
    guarded = after_two_full_epochs("greedy", 2)
    plan = guarded.begin_epoch(2)
    assert guarded.stats["missed"].tolist() == [0, 2, 1, 0, 0, 2, 0, 0, 0, 2]
    assert chosen(plan) == {2, 8, 6}  # the highest losses of those that are not 1, 5 and 9
    assert chosen(after_two_full_epochs("greedy", 3).begin_epoch(2)) == {5, 1, 9}


def test_what_is_set_aside_comes_where_too_few_are_left() -> None:
    plan = after_two_full_epochs("greedy", 1, num_kept=8).begin_epoch(2)
    assert {0, 3, 4, 6, 7, 8} < chosen(plan)  # all that were right, and two of the others
    assert len(chosen(plan)) == 8


def test_a_guard_that_nothing_reaches_changes_no_plan() -> None:
    plans = [run_epochs(make_pruner("emp", guard=guard), SyntheticTask(num_samples=60)) for guard in (None, 99)]
    assert plans[0] == plans[1]


def test_a_selection_that_is_held_loses_what_was_set_aside_since() -> None:
    pruner = make_pruner("epsilon-greedy:replan_every=20", guard=1)
    for plan in run_epochs(pruner, SyntheticTask(num_samples=60)):
        assert len(plan.index.unique()) == len(plan)


def test_a_run_goes_on_exactly_with_its_guard() -> None:
    task = SyntheticTask(num_samples=60)
    whole, first, second = make_pruner(), make_pruner(), make_pruner()
    plans = run_epochs(whole, task)
    run_epochs(first, task, stop=6)
    first.begin_epoch(6, multiple_of=8)
    train_epoch(first, task, stop=8)
    second.load_state_dict(first.state_dict())
    train_epoch(second, task, start=8)
    assert run_epochs(second, task) == plans[7:]
    for pruner in (whole, second):
        pruner.sync()
    assert_same_state(second.state_dict(), whole.state_dict())


def test_a_state_of_another_guard_is_refused(raises: Raises) -> None:
    state = make_pruner().state_dict()
    with raises(StateError):
        make_pruner(guard=3).load_state_dict(state)


def test_it_stands_beside_groups_weights_and_what_is_recorded() -> None:
    labels = torch.arange(60) % 3
    pruner = make_pruner(
        "emp", groups=emprune.Groups(labels, quota="equal"), weights=labels + 1.0, pinned=[4], record="all"
    )
    for plan in run_epochs(pruner, SyntheticTask(num_samples=60)):
        assert 4 in plan.index
        assert torch.bincount(labels[plan.index]).tolist() == [8, 8, 8]
    assert {"missed", "mean_margin"} < set(pruner.stats.by_name)


@pytest.mark.parametrize(
    ("options", "value"),
    [({"guard": 0}, 0), ({"guard": 1.5}, 1.5), ({"method": "random"}, "Random")],
    ids=["none", "no integer", "a method that does not score"],
)
def test_a_guard_that_cannot_be_is_refused(options: dict[str, Any], value: Any, raises: Raises) -> None:
    with raises(ConfigError, parameter="guard") as error:
        make_pruner(**options)
    assert str(value) in str(error.value)


def test_a_guard_of_all_data_is_refused(raises: Raises) -> None:
    with raises(ConfigError, parameter="guard"):
        make_pruner(keep=1.0)


@pytest.mark.parametrize("outputs", [None, torch.zeros(24, 3, 2)], ids=["none", "no logits"])
def test_a_guard_needs_the_logits(outputs: Tensor | None, raises: Raises) -> None:
    pruner = make_pruner()
    index = pruner.begin_epoch(0).index
    with raises(ObservationError):
        pruner.observe(index, torch.rand(24), outputs)
