"""summary(): a plan and the columns behind it, in numbers."""

import pytest
import torch

import emprune
from emprune.summary import gini
from tests.unit.support import after_full_epoch, make_pruner, observe

LOSSES = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0])


def test_a_fresh_pruner_has_none() -> None:
    with pytest.raises(emprune.errors.EpochError, match="No epoch has begun"):
        make_pruner().summary()


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
    pruner.planning_seconds = 0.0123
    assert str(pruner.summary()) == "\n".join(
        [
            "greedy, epoch 1: 4 kept (40.0%)",
            "  never seen      0",
            "  churn           0.0% new since the last epoch",
            "  greedy overlap  100.0%",
            "  scores          0 / 2.25 / 4.5 / 6.75 / 9  (min, quartiles, max)",
            "  staleness       1.00 epochs",
            "  visits          10 in all, Gini 0.000",
            "  planning        0.012 s so far",
        ]
    )
    fresh = make_pruner(emprune.Random())
    fresh.begin_epoch(0)
    assert "  greedy overlap  –\n  scores          –  (min" in str(fresh.summary())


@pytest.mark.parametrize(
    ("visits", "expected"),
    [([3, 3, 3], 0), ([0], 0), ([0, 0], 0), ([5], 0), ([0, 0, 0, 4], 0.75), ([1, 3], 0.25), ([1, 2, 3, 4], 0.25)],
)
def test_gini(visits: list[int], expected: float) -> None:
    assert gini(torch.tensor(visits)) == pytest.approx(expected)
    assert gini(torch.tensor(visits, dtype=torch.int32)) == pytest.approx(expected)
