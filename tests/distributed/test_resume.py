"""A run saved on some ranks goes on with others: the same plans, no sample twice and no observation lost."""

import itertools

import pytest

from emprune.testing import assert_same_state, through_disk
from tests.distributed.pool import RankPool
from tests.distributed.runs import NUM_EPOCHS, QUANTUM, Leg

pytestmark = pytest.mark.distributed

CHANGES = [(2, 1), (2, 3), (2, 4), (1, 2), (3, 2), (4, 2), (4, 1)]
PLACES = {"at an epoch's start": (3, 0), "in mid-epoch": (3, 1), "at an epoch's end": (3, 99)}


@pytest.mark.parametrize("stop", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize(("before", "after"), CHANGES)
@pytest.mark.parametrize("kind", ["pruned", "arrays"])
def test_with_other_ranks_and_the_same_global_batch(
    ranks: RankPool, kind: str, before: int, after: int, stop: tuple[int, int]
) -> None:
    """Then all that follows is equal bit by bit to the run that was never stopped."""
    [(whole, expected)] = ranks.run(Leg(kind, QUANTUM), world_size=1)
    if stop[1] == 99:
        stop = (3, sum(epoch == 3 for epoch, _ in whole))
    first = ranks.run(Leg(kind, QUANTUM // before, stop), world_size=before)
    saved = through_disk(first[0][1])
    for _, states in first:
        assert_same_state(states, saved)
    second = ranks.run(Leg(kind, QUANTUM // after, None, saved), world_size=after)
    delivered = [set().union(*batches) for batches in global_batches(first) + global_batches(second)]
    assert delivered == [set(batch) for _, batch in whole]
    for _, state in second:
        assert_same_state(state["pruner"], expected["pruner"])


@pytest.mark.parametrize(("before", "after"), [(2, 3), (3, 2), (4, 3), (1, 4), (3, 4)])
@pytest.mark.parametrize("kind", ["pruned", "arrays", "stream"])
def test_with_other_ranks_and_the_same_batch_size(ranks: RankPool, kind: str, before: int, after: int) -> None:
    """Then what is left of the epoch need not divide equally: the last batches do not, and all else holds."""
    first = ranks.run(Leg(kind, 5, (2, 1)), world_size=before)
    again = ranks.run(Leg(kind, 5, (2, 1), first[0][1]), world_size=after)
    last = ranks.run(Leg(kind, 5, None, again[0][1]), world_size=before)
    state = last[0][1]["pruner"]
    for epoch in range(NUM_EPOCHS):
        parts = [batch for leg in (first, again, last) for batches, _ in leg for e, batch in batches if e == epoch]
        samples = [sample for batch in parts for sample in batch]
        assert len(set(samples)) == len(samples)
        if epoch == 2:
            assert sorted(samples) == (first[0][1]["pruner"]["plan"]["order"] >= 0).nonzero().flatten().tolist()
            assert all(1 <= len(batch) <= 5 for batch in parts)
    for leg in (first, again, last):
        assert len({len(batches) for batches, _ in leg}) == 1
        for _, states in leg:
            assert_same_state(states, leg[0][1])
    observed = sum(len(batch) for leg in (first, again, last) for batches, _ in leg for _, batch in batches)
    assert int(state["columns"]["visits"].sum()) == observed == sum(state["history"]["num_kept"])


def global_batches(leg: list[tuple[list[tuple[int, list[int]]], object]]) -> list[list[list[int]]]:
    """What the ranks delivered at a time."""
    ranks = [[batch for _, batch in batches] for batches, _ in leg]
    return [list(batches) for batches in itertools.zip_longest(*ranks)]


def test_observations_of_one_process_that_were_not_synced_are_not_lost(ranks: RankPool) -> None:
    [(whole, expected)] = ranks.run(Leg("arrays", QUANTUM), world_size=1)
    [(first, state)] = ranks.run(Leg("arrays", QUANTUM, (3, 1), synced=False), world_size=1)
    assert int((state["pruner"]["columns"]["last_visit"] == 3).count_nonzero()) == QUANTUM
    second = ranks.run(Leg("arrays", QUANTUM // 2, None, state), world_size=2)
    delivered = [set(batch) for _, batch in first] + [set().union(*batches) for batches in global_batches(second)]
    assert delivered == [set(batch) for _, batch in whole]
    for _, found in second:
        assert_same_state(found["pruner"], expected["pruner"])
