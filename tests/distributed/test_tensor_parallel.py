"""Two ranks that hold one model, and its losses and logits as DTensors."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import loss_parallel

import emprune
from emprune.testing import assert_same_state, through_disk
from tests.distributed.pool import RankPool

pytestmark = pytest.mark.distributed


def make_mesh() -> Any:
    warnings.filterwarnings("ignore", "DTensor random operators may not have complete support")  # by torch 2.6
    return init_device_mesh("cpu", (1, 2), mesh_dim_names=("data", "model"))


def refused(pruner: emprune.DataPruner, *arguments: Any, **options: Any) -> str:
    before = through_disk(pruner.state_dict())
    with pytest.raises(emprune.errors.ObservationError) as caught:
        pruner.reduce(*arguments, **options)
    assert_same_state(pruner.state_dict(), before)
    return str(caught.value)


def train_on_a_mesh() -> None:
    mesh = make_mesh()
    group = mesh["data"].get_group()
    pruner = emprune.DataPruner(emprune.EMP(), num_samples=40, num_epochs=3, keep=0.5, process_group=group)
    x, y = torch.randn(40, 8, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 8
    for epoch in range(3):
        for index in pruner.begin_epoch(epoch, multiple_of=4).index.split(4):
            logits: Any = distribute_tensor(x[index], mesh["model"], [Shard(-1)]).requires_grad_()
            labels = distribute_tensor(y[index], mesh["model"], [Replicate()])
            with loss_parallel():
                losses: Any = F.cross_entropy(logits, labels, reduction="none")
                assert "got a DTensor" in refused(pruner, index, losses, logits)
                plain = losses.full_tensor()
                assert "`score_losses` must be a plain" in refused(pruner, index, plain, logits, score_losses=losses)
                assert "Pass outputs.full_tensor()." in refused(pruner, index, plain, logits)
                pruner.reduce(index, plain, logits.full_tensor()).backward()
            assert isinstance(logits.grad, DTensor)
            expected = x[index].requires_grad_()
            F.cross_entropy(expected, y[index]).backward()
            torch.testing.assert_close(logits.grad.full_tensor(), expected.grad)
    pruner.sync()
    assert pruner.stats.seen.all()


def test_what_is_observed_is_all_on_every_rank(ranks: RankPool) -> None:
    ranks.run(train_on_a_mesh)


def measure_on_a_mesh(memory: Callable[[Any], Tensor]) -> None:
    mesh = make_mesh()
    group = mesh["data"].get_group()
    pruner = emprune.DataPruner(emprune.EMP(memory=memory), num_samples=4, num_epochs=1, keep=1, process_group=group)
    index = pruner.begin_epoch(0).index
    logits = distribute_tensor(torch.rand(4, 8), mesh["model"], [Replicate()])
    assert "Pass outputs.full_tensor()." in refused(pruner, index, torch.ones(4), logits)


def row_means(logits: Tensor) -> Tensor:
    return logits.mean(1)


def test_nor_is_what_a_memory_term_makes_of_a_part(ranks: RankPool) -> None:
    ranks.run(measure_on_a_mesh, row_means)
