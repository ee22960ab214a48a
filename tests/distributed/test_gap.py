"""The generalisation gap on several ranks: each may hand over its own, and all follow the same."""

from typing import Any

import pytest

import emprune
from emprune.testing import assert_same_state
from tests.distributed.pool import RankPool
from tests.distributed.runs import NUM_EPOCHS, QUANTUM, TASK, make_pruner
from tests.messages import Raises

pytestmark = pytest.mark.distributed


def train(gaps: list[float | None]) -> tuple[list[str], list[float | None], dict[str, Any]]:
    """Return the plans' fingerprints, the gap after each was made, and the state; a rank hands over its gap, if any."""
    pruner = make_pruner("emp, gap")
    fingerprints, followed = [], []
    for epoch in range(NUM_EPOCHS):
        plan = pruner.begin_epoch(epoch, multiple_of=QUANTUM)
        fingerprints.append(plan.fingerprint)
        followed.append(pruner.gap)
        share = plan.index[pruner.rank :: pruner.world_size]
        pruner.observe(share, *TASK.batch(share, epoch=epoch))
        mine = gaps[pruner.rank]
        if mine is not None:
            pruner.observe_validation(0.25 + epoch * mine, train_loss=0.25)
    pruner.sync()
    return fingerprints, followed, pruner.state_dict()


@pytest.mark.parametrize(
    "gaps", [[0.0625, 0.0625, 0.0625], [0.0625, None, None], [None, 0.0625, None], [0.0, 0.125, 0.0625]], ids=str
)
def test_the_mean_of_those_that_were_handed_over_counts(ranks: RankPool, gaps: list[float | None]) -> None:
    plans, followed, state = train([0.0625])
    assert followed == [None, *(0.0625 * epoch for epoch in range(NUM_EPOCHS - 1))]
    for found in ranks.run(train, gaps, world_size=3):
        assert found[:2] == (plans, followed)
        assert_same_state(found[2], state)


def forget_and_save(synced: bool) -> str:
    """Rank 1 hands over a gap; return what goes wrong on each rank."""
    pruner = make_pruner("emp, gap")
    pruner.begin_epoch(0, multiple_of=QUANTUM)
    if pruner.rank == 1:
        pruner.observe_validation(0.5, train_loss=0.25)
    if synced:
        pruner.sync()
    try:
        gap = pruner.state_dict()["gap"]
    except emprune.EmpruneError as error:
        return str(error)
    return str(float(gap))


def test_a_gap_that_was_not_merged_is_not_saved(ranks: RankPool, raises: Raises) -> None:
    first, second = ranks.run(forget_and_save, False)
    assert first == "nan"
    raises.message(second, value=1, kind="EmpruneError")
    assert ranks.run(forget_and_save, True) == ["0.25", "0.25"]


def plan_without() -> str:
    """Return what each rank says where none handed over a gap."""
    pruner = make_pruner("emp, gap")
    for epoch in range(NUM_EPOCHS):
        try:
            plan = pruner.begin_epoch(epoch, multiple_of=QUANTUM)
        except emprune.errors.EpochError as error:
            return str(error)
        share = plan.index[pruner.rank :: pruner.world_size]
        pruner.observe(share, *TASK.batch(share, epoch=epoch))
    return ""


def test_no_gap_is_an_error_on_every_rank(ranks: RankPool) -> None:
    first, second = ranks.run(plan_without)
    assert first == second
    assert "observe_validation" in first
