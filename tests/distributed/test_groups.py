"""Groups, weights and pinned samples on several ranks: the plan of one, and one set of options for all."""

from typing import Any

import pytest
import torch

import emprune
from tests.distributed.pool import RankPool
from tests.distributed.runs import NUM_EPOCHS, NUM_SAMPLES, QUANTUM, make_pruner, observe

pytestmark = pytest.mark.distributed

LABELS = torch.arange(NUM_SAMPLES) % 12 // 5  # 40, 40 and 20 samples in a hundred


def options_of(kind: str) -> dict[str, Any]:
    """What a run asks of its plans. Groups are made in each process."""
    options: dict[str, dict[str, Any]] = {
        "equal": {"groups": emprune.Groups(LABELS, quota="equal")},
        "rcap, pinned": {"groups": emprune.Groups(LABELS, quota="rcap", floor=0.1), "pinned": [0, 5]},
        "weights": {"weights": 1.0 + LABELS, "lengths": LABELS},
    }
    return options[kind]


def train(method: str, kind: str) -> list[str]:
    """Return the plans' fingerprints."""
    pruner, fingerprints = make_pruner(method, **options_of(kind)), []
    for epoch in range(NUM_EPOCHS):
        plan = pruner.begin_epoch(epoch, multiple_of=QUANTUM)
        fingerprints.append(plan.fingerprint)
        observe(pruner, plan.shard(pruner.rank, pruner.world_size).index)
    return fingerprints


@pytest.mark.parametrize("kind", ["equal", "rcap, pinned", "weights"])
@pytest.mark.parametrize("method", ["emp", "ucb", "infobatch"])
def test_the_plan_on_several_ranks_is_that_of_one(ranks: RankPool, method: str, kind: str) -> None:
    alone = train(method, kind)
    for world_size in (2, 3):
        assert ranks.run(train, method, kind, world_size=world_size) == [alone] * world_size


def balanced() -> list[list[int]]:
    """Return how many of each group each of this rank's batches holds."""
    groups = emprune.Groups(torch.arange(NUM_SAMPLES) % 4, quota="equal", per_batch=2)
    pruner = make_pruner("random", groups=groups)
    plan = pruner.begin_epoch(0, multiple_of=QUANTUM)
    share = plan.shard(pruner.rank, pruner.world_size).index
    return [torch.bincount(batch % 4, minlength=4).tolist() for batch in share.split(QUANTUM // pruner.world_size)]


def test_each_ranks_batches_hold_m_of_a_group(ranks: RankPool) -> None:
    for counts in ranks.run(balanced):
        assert all(count % 2 == 0 for batch in counts for count in batch)


def other_labels() -> str:
    """Plan with labels that differ by the rank; return what goes wrong."""
    rank = emprune.DataPruner("random", num_samples=2, num_epochs=1, keep=0.5).rank
    pruner = make_pruner("greedy", groups=LABELS.roll(rank))
    try:
        pruner.begin_epoch(0, multiple_of=QUANTUM)
    except emprune.EmpruneError as error:
        return type(error).__name__ + (" groups" if "groups" in str(error) else "")
    return "nothing"


def test_other_groups_on_another_rank_are_an_error_on_all(ranks: RankPool) -> None:
    assert ranks.run(other_labels) == ["RankError groups"] * 2
