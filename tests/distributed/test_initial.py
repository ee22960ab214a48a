"""A run that starts from an earlier run's columns, on several ranks: all must start from the same."""

from typing import Any

import pytest
import torch

import emprune
from emprune.errors import RankError
from emprune.testing import assert_same_state
from tests.distributed.pool import RankPool
from tests.distributed.runs import NUM_EPOCHS, QUANTUM, make_pruner, observe
from tests.messages import Raises

pytestmark = pytest.mark.distributed


def train(pruner: emprune.DataPruner) -> list[str]:
    """Go through the rest of the run; return the plans' fingerprints."""
    fingerprints = []
    for epoch in range(pruner.epoch + 1, NUM_EPOCHS):
        plan = pruner.begin_epoch(epoch, multiple_of=QUANTUM)
        fingerprints.append(plan.fingerprint)
        observe(pruner, plan.index[pruner.rank :: pruner.world_size])
    pruner.sync()
    return fingerprints


def earlier(seed: int = 1) -> dict[str, Any]:
    pruner = make_pruner(seed=seed)
    train(pruner)
    return pruner.state_dict()


def start_and_train(initial: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    pruner = make_pruner(initial=initial)
    return train(pruner), pruner.state_dict()


def begin(initials: list[dict[str, Any] | None]) -> str:
    """Return what goes wrong on each rank."""
    rank = torch.distributed.get_rank()
    try:
        make_pruner(initial=initials[rank]).begin_epoch(0, multiple_of=QUANTUM)
    except RankError as error:
        return str(error)
    return ""


def test_ranks_that_start_from_different_columns_are_refused(ranks: RankPool, raises: Raises) -> None:
    mine, other = earlier(), earlier(seed=2)
    for initials in ([mine, None], [mine, other]):
        first, second = ranks.run(begin, initials)
        assert first == second
        assert "All ranks must make the same pruner; got initial=" in first
    raises.message(ranks.run(begin, [None, mine])[0], value=None, kind="RankError")


def start_save_and_resume(initials: list[dict[str, Any] | None], initial: dict[str, Any]) -> tuple[Any, ...]:
    """Save in the first epoch, and go on in a pruner that is given the columns again on some ranks only."""
    pruner = make_pruner(initial=initial)
    plan = pruner.begin_epoch(0, multiple_of=QUANTUM)
    share = plan.index[pruner.rank :: pruner.world_size]
    observe(pruner, share[:4])
    pruner.sync()
    resumed = make_pruner(initial=initials[pruner.rank])
    resumed.load_state_dict(pruner.state_dict())
    observe(resumed, share[4:])
    return [plan.fingerprint, *train(resumed)], resumed.state_dict()


def test_a_resumed_run_needs_no_columns_again_on_any_rank(ranks: RankPool) -> None:
    initial = earlier()
    plans, state = start_and_train(initial)
    for initials in ([None, None], [initial, None]):
        for found_plans, found_state in ranks.run(start_save_and_resume, initials, initial):
            assert found_plans == plans
            assert_same_state(found_state, state)


def test_two_ranks_make_the_run_of_one(ranks: RankPool) -> None:
    initial = earlier()
    plans, state = start_and_train(initial)
    for found_plans, found_state in ranks.run(start_and_train, initial):
        assert found_plans == plans
        assert_same_state(found_state, state)
