"""What is communicated goes on a device that the group communicates from."""

from typing import Any

import pytest
import torch
import torch.distributed as dist

from emprune.distributed import Ranks
from emprune.testing import assert_same_state
from tests.distributed.pool import RankPool
from tests.distributed.runs import NUM_EPOCHS, QUANTUM, TASK, make_pruner

pytestmark = pytest.mark.distributed
NUM_GPUS = torch.cuda.device_count()


@pytest.mark.parametrize(
    ("backends", "device"),
    [
        ("cpu:gloo,cuda:gloo", "cpu"),
        ("cpu:gloo,cuda:nccl", "cpu"),
        ("cuda:nccl", "cuda"),
        ("xpu:xccl", "xpu"),
    ],
)
def test_the_cpu_where_that_is_possible(backends: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "get_backend_config", lambda group: backends)
    assert Ranks()._device() == torch.device(device)


def reduce_on_a_gpu() -> list[list[int]]:
    torch.cuda.set_device(dist.get_rank())
    ranks = Ranks()
    reduced = []
    for dtype, operation in ((torch.uint8, dist.ReduceOp.MAX), (torch.int32, dist.ReduceOp.SUM)):
        values = torch.tensor([0, 1 + ranks.rank, 7], dtype=dtype)
        ranks._all_reduce(values, operation, "a test")
        reduced.append(values.tolist())
    return reduced


def train_on_gpus() -> tuple[list[str], dict[str, Any]]:
    """EMP, with indices, losses and logits on the GPU."""
    device = torch.device("cuda", dist.get_rank() % torch.cuda.device_count())
    torch.cuda.set_device(device)
    pruner = make_pruner()
    fingerprints = []
    for epoch in range(NUM_EPOCHS):
        plan = pruner.begin_epoch(epoch, multiple_of=QUANTUM)
        fingerprints.append(plan.fingerprint)
        index = plan.shard(pruner.rank, pruner.world_size).index
        losses, logits = (values.to(device) for values in TASK.batch(index, epoch=epoch))
        pruner.observe(index.to(device), losses, logits)
    pruner.sync()
    return fingerprints, pruner.state_dict()


@pytest.mark.cuda
@pytest.mark.skipif(NUM_GPUS < 1 or not dist.is_nccl_available(), reason="needs a GPU and NCCL")
def test_nccl_reduces_what_is_on_the_cpu(ranks: RankPool) -> None:
    world_size = min(NUM_GPUS, 2)
    for maximum, total in ranks.run(reduce_on_a_gpu, world_size=world_size, backend="nccl"):
        assert maximum == [0, world_size, 7]
        assert total == [0, sum(range(1, world_size + 1)), 7 * world_size]


@pytest.mark.cuda
@pytest.mark.skipif(NUM_GPUS < 2 or not dist.is_nccl_available(), reason="needs two GPUs and NCCL")
def test_gpus_remember_the_same(ranks: RankPool) -> None:
    one, other = ranks.run(train_on_gpus, backend="nccl")
    assert one[0] == other[0]
    assert_same_state(one[1], other[1])


@pytest.mark.cuda
@pytest.mark.skipif(NUM_GPUS < 1, reason="needs a GPU")
def test_ranks_that_talk_over_gloo_may_share_a_gpu(ranks: RankPool) -> None:
    one, other = ranks.run(train_on_gpus, backend="gloo")
    assert one[0] == other[0]
    assert_same_state(one[1], other[1])
