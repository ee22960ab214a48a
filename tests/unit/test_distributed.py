"""Two ranks: what they observe is united, and they plan what one would."""

import multiprocessing
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

import emprune
from emprune.distributed import Ranks
from emprune.testing import SyntheticTask, assert_same_state, run_epochs

pytestmark = [
    pytest.mark.distributed,
    pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="needs gloo"),
]
NUM_SAMPLES, BATCH_SIZE, NUM_EPOCHS = 60, 4, 7
TASK = SyntheticTask(num_samples=NUM_SAMPLES)


def on_two_ranks(folder: Path, work: Callable[[], Any]) -> list[Any]:
    """Run `work` in two forked processes that form a group, and return what each returned."""
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_run_rank, args=(folder, rank, work), daemon=True) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    alive = [process for process in processes if process.is_alive()]
    for process in alive:
        process.kill()
    assert not alive, "a rank hangs"
    return [torch.load(folder / f"rank{rank}.pt", weights_only=False) for rank in range(2)]


def _run_rank(folder: Path, rank: int, work: Callable[[], Any]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2, timeout=timedelta(seconds=30)
    )
    result = work()
    torch.save(result, folder / f"rank{rank}.pt")
    dist.destroy_process_group()


def merge() -> tuple[int, int, torch.Tensor, dict[str, torch.Tensor]]:
    ranks = Ranks()
    index = torch.tensor([[5, 1, 2], [4, 0, 2]])[ranks.rank]
    measured = {"loss": torch.tensor([[0.5, 0.1, 3.0], [0.4, 0.0, 1.0]])[ranks.rank], "memory": index.float()}
    return (ranks.rank, ranks.size, *ranks.merge(6, index, measured))


def train() -> tuple[list[str], list[list[int]], dict[str, Any]]:
    """A run of EMP whose batches are divided among the ranks, with a sync in the middle of each epoch."""
    pruner = emprune.DataPruner(
        emprune.EMP(), num_samples=NUM_SAMPLES, num_epochs=NUM_EPOCHS, keep=0.4, tail_fraction=0.3
    )
    fingerprints, shares = [], []
    for epoch in range(NUM_EPOCHS):
        plan = pruner.begin_epoch(epoch, multiple_of=pruner.num_ranks * BATCH_SIZE)
        fingerprints.append(plan.fingerprint)
        share = plan.shard(pruner.rank, pruner.num_ranks).index
        shares.append(share.tolist())
        for number, index in enumerate(share.split(BATCH_SIZE)):
            losses, logits = TASK.batch(index, epoch=epoch)
            pruner.observe(index, losses, logits)
            if number == 1:
                pruner.sync()
    with pytest.raises(emprune.EmpruneError, match=r"call pruner\.sync\(\) on every rank before state_dict"):
        pruner.state_dict()
    pruner.sync()
    return fingerprints, shares, pruner.state_dict()


@pytest.fixture
def no_group() -> Iterator[None]:
    assert not dist.is_initialized()
    yield
    assert not dist.is_initialized()


def test_what_ranks_observed_is_united(tmp_path: Path, no_group: None) -> None:
    results = on_two_ranks(tmp_path, merge)
    for rank, (own_rank, size, index, measured) in enumerate(results):
        assert (own_rank, size) == (rank, 2)
        assert index.tolist() == [0, 1, 2, 4, 5]
        assert measured["loss"].tolist() == pytest.approx([0.0, 0.1, 2.0, 0.4, 0.5])  # of 2, the mean of both
        assert measured["memory"].tolist() == [0, 1, 2, 4, 5]


def test_two_ranks_plan_what_one_would(tmp_path: Path, no_group: None) -> None:
    one, two = on_two_ranks(tmp_path, train)
    assert one[0] == two[0]
    assert_same_state(one[2], two[2])
    for epoch in range(NUM_EPOCHS):
        assert len(one[1][epoch]) == len(two[1][epoch])
        assert set(one[1][epoch]).isdisjoint(two[1][epoch])
    assert one[0] == [plan.fingerprint for plan in alone()]


def alone() -> list[emprune.EpochPlan]:
    """The same run on one rank."""
    pruner = emprune.DataPruner(
        emprune.EMP(), num_samples=NUM_SAMPLES, num_epochs=NUM_EPOCHS, keep=0.4, tail_fraction=0.3
    )
    return run_epochs(pruner, TASK, multiple_of=2 * BATCH_SIZE)


def test_one_process_is_one_rank(no_group: None) -> None:
    ranks = Ranks()
    index, measured = torch.tensor([3, 1]), {"loss": torch.tensor([0.3, 0.1])}
    assert (ranks.rank, ranks.size) == (0, 1)
    merged = ranks.merge(5, index, measured)
    assert merged[0] is index
    assert merged[1] == measured
