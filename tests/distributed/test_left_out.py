"""What ranks left out is the same on all of them, and the plans are those of one rank."""

from typing import Any

import pytest
import torch

from emprune.errors import EmpruneError
from emprune.testing import assert_same_state
from tests.distributed.pool import RankPool
from tests.distributed.runs import NUM_EPOCHS, NUM_SAMPLES, QUANTUM, make_pruner, observe

pytestmark = pytest.mark.distributed
DAMAGED = torch.arange(NUM_SAMPLES) % 4 == 1


def train(name: str) -> dict[str, Any]:
    """Return the state at the end."""
    pruner = make_pruner(name)
    for epoch in range(NUM_EPOCHS):
        plan = pruner.begin_epoch(epoch, multiple_of=QUANTUM)
        for number, whole in enumerate(plan.index.split(QUANTUM)):
            index = whole[pruner.rank :: pruner.world_size]
            bad = DAMAGED[index]
            if not bool(bad.all()):
                observe(pruner, index[~bad])
            pruner.leave_out(index[bad])
            if number == 0:
                pruner.sync()
    pruner.sync()
    return pruner.state_dict()


def leave_all_out() -> tuple[str, list[int]]:
    """Leave a whole epoch out; return what saving says before `sync`, and the plan of the next epoch."""
    pruner = make_pruner("greedy")
    pruner.leave_out(pruner.begin_epoch(0, multiple_of=QUANTUM).index[pruner.rank :: pruner.world_size])
    told = ""
    try:
        pruner.state_dict()
    except EmpruneError as error:
        told = str(error)
    return told, pruner.begin_epoch(1, multiple_of=QUANTUM).index.tolist()


@pytest.mark.parametrize("name", ["greedy", "random-permutation", "emp, pool"])
@pytest.mark.parametrize("world_size", [2, 3])
def test_left_out_samples_on_several_ranks(ranks: RankPool, world_size: int, name: str) -> None:
    state = train(name)
    assert int(state["columns"]["failures"].sum()) > 0
    for theirs in ranks.run(train, name, world_size=world_size):
        assert_same_state(theirs, state)


def test_an_epoch_that_all_ranks_left_out_is_told_to_all(ranks: RankPool) -> None:
    _, following = leave_all_out()
    for told, theirs in ranks.run(leave_all_out):
        assert "call sync() on every rank" in told
        assert theirs == following
