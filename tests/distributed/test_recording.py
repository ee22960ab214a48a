"""What is recorded is the same on any number of ranks, bit for bit."""

from typing import Any

import pytest
import torch

from emprune.errors import RankError
from emprune.testing import assert_same_state
from tests.distributed.pool import RankPool
from tests.distributed.runs import NUM_EPOCHS, QUANTUM, make_pruner, observe
from tests.messages import Raises

pytestmark = pytest.mark.distributed


def train() -> tuple[dict[str, Any], list[int]]:
    """Return the state at the end, and the suspects."""
    pruner = make_pruner(record="all", nonfinite="skip")
    for epoch in range(NUM_EPOCHS):
        plan = pruner.begin_epoch(epoch, multiple_of=QUANTUM)
        for number, whole in enumerate(plan.index.split(QUANTUM)):
            observe(pruner, whole[pruner.rank :: pruner.world_size], bad=(3, 50))
            if number == 0:
                pruner.sync()
    pruner.sync()
    return pruner.state_dict(), pruner.suspects(20).index.tolist()


def begin(records: list[str | None]) -> str:
    rank = torch.distributed.get_rank()
    try:
        make_pruner(record=records[rank]).begin_epoch(0, multiple_of=QUANTUM)
    except RankError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("world_size", [2, 3])
def test_recorded_columns_on_several_ranks(ranks: RankPool, world_size: int) -> None:
    state, suspects = train()
    for theirs, their_suspects in ranks.run(train, world_size=world_size):
        assert_same_state(theirs["columns"], state["columns"])
        assert their_suspects == suspects


def test_all_ranks_must_record_the_same(ranks: RankPool, raises: Raises) -> None:
    first, second = ranks.run(begin, ["predicted", None], world_size=2)
    assert first == second
    raises.message(first, value="predicted", kind="RankError")
