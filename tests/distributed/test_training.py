"""A tiny model trained by DDP and by FSDP: stopped in mid-epoch and gone on with, it ends as if it never was."""

import itertools
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset

import emprune
from emprune.testing import assert_same_state, through_disk
from tests.distributed.pool import RankPool

pytestmark = pytest.mark.distributed
WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
NUM_EPOCHS = 4


def make_dataset() -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 6, generator=generator)
    return TensorDataset(x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long())


def make_model(wrapper: str) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    if wrapper == "ddp":
        return DistributedDataParallel(model)
    fully_shard(model, mesh=init_device_mesh("cpu", (dist.get_world_size(),)))
    return model


def train(wrapper: str, stop: tuple[int, int] | None, saved: dict[str, Any] | None) -> tuple[list[Any], dict[str, Any]]:
    """Train to a place, from a saved state; return what was delivered, and the state at the end."""
    dataset, model = make_dataset(), make_model(wrapper)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    pruner = emprune.DataPruner(emprune.EMP(), num_samples=64, num_epochs=NUM_EPOCHS, keep=0.5)
    loader = emprune.PrunedLoader(DataLoader(dataset, batch_size=4, shuffle=True), pruner)
    if saved is not None:
        pruner.load_state_dict(saved["pruner"])
        loader.load_state_dict(saved["loader"])
        parameters, moments = saved["model"], saved["optimizer"]
        set_state_dict(model, optimizer, model_state_dict=parameters, optim_state_dict=moments, options=WHOLE)
    delivered = []
    for epoch in range(max(0, pruner.epoch), NUM_EPOCHS):
        loader.set_epoch(epoch)
        is_last = stop is not None and stop[0] == epoch
        for index, (x, y) in itertools.islice(loader, stop[1] if stop is not None and is_last else None):
            logits = model(x)
            loss = pruner.reduce(index, F.cross_entropy(logits, y, reduction="none"), logits)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            delivered.append(index.tolist())
        if is_last:
            break
    pruner.sync()
    own = {"pruner": pruner.state_dict(), "loader": loader.state_dict()}
    parameters, moments = get_state_dict(model, optimizer, options=WHOLE)
    return delivered, through_disk({**own, "model": parameters, "optimizer": moments})


@pytest.mark.parametrize("wrapper", ["ddp", "fsdp"])
def test_stopped_and_gone_on_with(ranks: RankPool, wrapper: str) -> None:
    whole = ranks.run(train, wrapper, None, None)
    first = ranks.run(train, wrapper, (2, 3), None)
    second = ranks.run(train, wrapper, None, first[0][1])
    for rank in range(2):
        assert first[rank][0] + second[rank][0] == whole[rank][0]
        for part in ("pruner", "loader"):
            assert_same_state(second[rank][1][part], whole[rank][1][part])
    assert whole[0][1]["model"]
    for part in ("model", "optimizer"):  # gathered on rank 0
        assert_same_state(second[0][1][part], whole[0][1][part])
    assert whole[0][1]["pruner"]["columns"]["loss"].isfinite().all()


def train_on_a_mesh() -> tuple[list[list[int]], dict[str, Any]]:
    """Four ranks: two share the data, and each of these two is a pair that holds one model."""
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("data", "model"))
    group = mesh["data"].get_group()
    pruner = emprune.DataPruner(emprune.EMP(), num_samples=64, num_epochs=3, keep=0.5, process_group=group)
    assert (pruner.rank, pruner.world_size) == (mesh.get_local_rank("data"), 2)
    loader = emprune.ArrayLoader(make_dataset().tensors, pruner, batch_size=4)
    delivered = []
    for epoch in range(3):
        loader.set_epoch(epoch)
        for index, (x, y) in loader:
            logits = x[:, :3]
            pruner.reduce(index, F.cross_entropy(logits, y, reduction="none"), logits)
            delivered.append(index.tolist())
    pruner.sync()
    return delivered, pruner.state_dict()


def test_the_ranks_that_share_the_data_may_be_fewer_than_all(ranks: RankPool) -> None:
    results = ranks.run(train_on_a_mesh, world_size=4)
    for _, state in results:
        assert_same_state(state, results[0][1])
    one, same, other, too = (delivered for delivered, _ in results)
    assert (one, other) == (same, too)
    assert sum(map(len, one)) == sum(map(len, other)) == 48
    for epoch in range(3):  # of 32 samples, in 4 batches of 4 on each
        samples = [sample for batch in one[epoch * 4 : epoch * 4 + 4] for sample in batch]
        samples += [sample for batch in other[epoch * 4 : epoch * 4 + 4] for sample in batch]
        assert len(set(samples)) == 32
