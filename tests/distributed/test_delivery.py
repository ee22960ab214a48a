"""Each planned sample is delivered to exactly one rank, in equally many batches, and nobody waits for another."""

import pytest
import torch

import emprune
from tests.distributed.pool import RankPool
from tests.distributed.runs import make_loader, make_pruner, observe

pytestmark = pytest.mark.distributed


def deliver(kind: str, options: dict[str, object]) -> tuple[list[list[list[int]]], list[list[int]], int]:
    """Return each epoch's batches and plan, and the run's planned steps."""
    pruner = emprune.DataPruner(emprune.Random(), num_samples=31, num_epochs=4, keep=0.6, tail_epochs=1)
    loader = make_loader(kind, pruner, batch_size=4, **options)
    epochs, plans = [], []
    for epoch in range(4):
        loader.set_epoch(epoch)
        batches = []
        for index, _ in loader:
            pruner.observe(index, torch.rand(len(index)))
            batches.append(index.tolist())
        assert len(batches) == len(loader)
        assert [index.tolist() for index, _ in loader] == batches  # a second pass
        epochs.append(batches)
        plans.append(pruner.plan.index.tolist())
    pruner.sync()
    assert int(pruner.visits.sum()) == sum(map(len, plans))
    return epochs, plans, loader.total_steps


@pytest.mark.parametrize("world_size", [2, 3])
@pytest.mark.parametrize("kind", ["pruned", "arrays", "stream"])
def test_every_sample_once(ranks: RankPool, kind: str, world_size: int) -> None:
    results = ranks.run(deliver, kind, {}, world_size=world_size)
    _, plans, total_steps = results[0]
    assert {len(plan) for plan in plans} >= {31 // world_size * world_size}  # a full epoch leaves the odd ones out
    for _, other, steps in results:
        assert (other, steps) == (plans, total_steps)
    for epoch, plan in enumerate(plans):
        shares = [epochs[epoch] for epochs, _, _ in results]
        assert len({len(batches) for batches in shares}) == 1
        whole = [sample for batches in shares for batch in batches for sample in batch]
        assert sorted(whole) == sorted(plan)
        assert len(set(whole)) == len(whole)
        first = [batches[0] for batches in shares]  # the ranks' first batches are the first global one
        in_plan_order = {s for batch in first for s in batch} == set(plan[: world_size * 4])
        assert in_plan_order or kind == "stream"
    assert total_steps == sum(len(batches) for batches in results[0][0])


def work_alone(kind: str) -> int:
    """Rank 0 does all there is to do within an epoch while rank 1 goes on: it would hang if anything waited for it."""
    pruner = make_pruner("infobatch")
    loader = make_loader(kind, pruner, batch_size=6)
    for epoch in range(4):
        loader.set_epoch(epoch)
        if pruner.rank == 0:
            assert pruner.begin_epoch(epoch) is pruner.plan
            loader.set_epoch(epoch)
            for number, (index, _) in enumerate(loader, start=1):
                observe(pruner, index)
                pruner.reduce(index, torch.rand(len(index), requires_grad=True)).backward()
                pruner.weights(index)
                assert number <= len(loader)
            _ = loader.peek(), loader.num_delivered, loader.steps_left
            _ = pruner.visits, pruner.plan, pruner.epoch, pruner.stats.seen, pruner.summary()
        pruner.sync()
        if pruner.rank == 0:
            loader.load_state_dict(loader.state_dict())
            pruner.load_state_dict(pruner.state_dict())
    return int(pruner.visits.sum())


@pytest.mark.parametrize("kind", ["pruned", "arrays"])
def test_nothing_within_an_epoch_waits_for_another_rank(ranks: RankPool, kind: str) -> None:
    one, other = ranks.run(work_alone, kind)
    assert one == other > 0
