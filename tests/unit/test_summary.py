"""summary(): a plan and the columns behind it, in numbers."""

import json
from textwrap import dedent

import pytest
import torch

import emprune
from emprune.summary import gini
from tests.unit.support import after_full_epoch, make_pruner, observe

LOSSES = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0])


def test_before_the_first_epoch_it_says_so() -> None:
    summary = make_pruner(emprune.Random()).summary()
    assert (summary.epoch, summary.num_samples, summary.num_kept, summary.total_visits) == (-1, 10, 0, 0)
    assert (summary.churn, summary.greedy_overlap, summary.staleness, summary.score_quantiles) == (None,) * 4
    assert str(summary) == "random, before the first epoch: 10 samples, none visited"


@pytest.mark.parametrize("num_epochs", [0, 1, 3])
def test_as_a_dictionary_it_is_what_json_keeps(num_epochs: int) -> None:
    pruner = make_pruner()
    for epoch in range(num_epochs):
        pruner.begin_epoch(epoch)
        observe(pruner, LOSSES)
    numbers = pruner.summary().to_dict()
    assert json.loads(json.dumps(numbers)) == numbers
    assert numbers["method"] == "greedy"
    assert numbers["epoch"] == num_epochs - 1


def test_the_overlap_with_greedy_is_left_out_where_it_is_not_asked_for() -> None:
    pruner = after_full_epoch(emprune.Greedy(), LOSSES, num_kept=5)
    pruner.begin_epoch(1)
    assert pruner.summary().greedy_overlap == 1
    assert pruner.summary(greedy_overlap=False).greedy_overlap is None


def test_the_first_epoch_has_nothing_to_compare_with() -> None:
    pruner = make_pruner()
    pruner.begin_epoch(0)
    summary = pruner.summary()
    assert (summary.method, summary.epoch, summary.num_kept, summary.kept_fraction) == ("greedy", 0, 5, 0.5)
    assert summary.never_seen == 10
    assert (summary.churn, summary.greedy_overlap, summary.score_quantiles, summary.staleness) == (None,) * 4
    assert (summary.visit_gini, summary.total_visits) == (0, 0)


def test_later_epochs() -> None:
    pruner = after_full_epoch(emprune.Greedy(), LOSSES, num_kept=4, later=2)
    pruner.begin_epoch(1)
    observe(pruner, LOSSES.flip(0))  # 6, 7, 8, 9 become 3, 2, 1, 0
    pruner.begin_epoch(2)
    summary = pruner.summary()
    assert summary.num_kept == 4
    assert summary.never_seen == 0
    assert summary.churn == 0.75  # 2, 3, 4, 5 after 6, 7, 8, 9, of which 6 is as hard as 3: one of the two by chance
    assert summary.greedy_overlap in (0.75, 1.0)
    assert summary.score_quantiles == pytest.approx((0.0, 1.0, 2.0, 3.0, 5.0), abs=0.8)
    assert summary.staleness == pytest.approx((6 * 2 + 4 * 1) / 10)
    assert summary.total_visits == 14
    assert summary.planning_seconds == pruner.planning_seconds > 0


@pytest.mark.parametrize("num_seen", [1, 4])
def test_the_overlap_is_not_told_of_losses_that_came_after_the_plan(num_seen: int) -> None:
    pruner = after_full_epoch(emprune.Greedy(), LOSSES, num_kept=4)
    index = pruner.begin_epoch(1).index[:num_seen]
    pruner.observe(index, LOSSES[index] / 100)
    assert pruner.summary().greedy_overlap == 1
    pruner.sync()
    assert pruner.summary().greedy_overlap is None
    assert "highest losses" not in str(pruner.summary())


def test_churn_is_the_share_of_new_samples() -> None:
    losses = torch.arange(10).float()
    pruner = after_full_epoch(emprune.Greedy(), losses, num_kept=4, later=2)
    pruner.begin_epoch(1)
    assert pruner.summary().churn == 0  # all were there in the full epoch before
    observe(pruner, torch.tensor([0.0] * 8 + [8.0, 9.0]))
    pruner.begin_epoch(2)
    assert pruner.summary().churn == 0.5  # 4, 5 instead of 6, 7
    assert pruner.churn == 0.5


def test_overlap_with_greedy() -> None:
    assert _overlap(emprune.Greedy()) == 1
    assert _overlap(emprune.EMP(memory=torch.neg)) == 0
    assert _overlap(emprune.methods.StaticSubset(torch.tensor([0.0] * 5 + [1, 0, 0, 1, 1]))) == pytest.approx(
        0.5, abs=0.25
    )


def _overlap(method: emprune.Method) -> float | None:
    pruner = after_full_epoch(method, LOSSES, 10 * LOSSES, num_kept=4)
    pruner.begin_epoch(1)
    return pruner.summary().greedy_overlap


def test_pending_visits_are_counted() -> None:
    pruner = make_pruner()
    index = pruner.begin_epoch(0).index
    pruner.observe(index[:3], torch.ones(3))
    assert pruner.summary().total_visits == 3
    assert pruner.summary().never_seen == 10  # as of the last fold
    pruner.sync()
    assert pruner.summary().total_visits == 3
    assert pruner.summary().never_seen == 7


def test_methods_that_do_not_score_have_no_quantiles() -> None:
    pruner = after_full_epoch(emprune.Random(), LOSSES, num_kept=4)
    pruner.begin_epoch(1)
    summary = pruner.summary()
    assert summary.score_quantiles is None
    assert summary.greedy_overlap is not None


def test_looking_changes_nothing() -> None:
    pruner, twin = make_pruner(), make_pruner()
    for epoch in range(4):
        assert pruner.begin_epoch(epoch) == twin.begin_epoch(epoch)
        pruner.summary()
        for each in (pruner, twin):
            observe(each, LOSSES)
        pruner.summary()


def test_it_reads_as_a_block() -> None:
    pruner = after_full_epoch(emprune.Greedy(), LOSSES, num_kept=4)
    pruner.begin_epoch(1)
    pruner._history.planning_seconds = [0.01, 0.0023]
    assert (
        str(pruner.summary())
        == repr(pruner.summary())
        == dedent("""\
        greedy, epoch 1: 4 of 10 samples are visited (40.0%)
          never seen         0 samples
          new in the plan    0.0% were not in the plan before
          highest losses     100.0% would be chosen by the last loss alone
          scores             from 0 to 9, quartiles 2.25, 4.5, 6.75
          age of the losses  1.00 epochs on average
          visits so far      10, 1.00 per sample, Gini 0.000
          planning so far    0.012 s""")
    )
    fresh = make_pruner(emprune.Random(), num_samples=2000)
    fresh.begin_epoch(0)
    assert str(fresh.summary()).startswith(
        "random, epoch 0: 1,000 of 2,000 samples are visited (50.0%)\n  never seen         2,000 samples\n  visits"
    )


@pytest.mark.parametrize(
    ("visits", "expected"),
    [([3, 3, 3], 0), ([0], 0), ([0, 0], 0), ([5], 0), ([0, 0, 0, 4], 0.75), ([1, 3], 0.25), ([1, 2, 3, 4], 0.25)],
)
def test_gini(visits: list[int], expected: float) -> None:
    assert gini(torch.tensor(visits)) == pytest.approx(expected)
    assert gini(torch.tensor(visits, dtype=torch.int32)) == pytest.approx(expected)
