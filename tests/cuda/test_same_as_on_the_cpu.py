"""Observations from the GPU give what those from the CPU give, and what is wrong with them is found."""

from typing import Any

import pytest
import torch

import emprune
from emprune.testing import SyntheticTask, assert_same_state, through_disk
from tests.cuda.support import BATCH_SIZE, METHODS, make_pruner

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]

DEVICES = ("cpu", "cuda")


def train_epoch(pruner: emprune.DataPruner, task: SyntheticTask, epoch: int, index_device: str, device: str) -> None:
    for index in pruner.begin_epoch(epoch, multiple_of=BATCH_SIZE).index.split(BATCH_SIZE):
        losses, logits = task.batch(index, epoch=epoch)
        pruner.observe(index.to(index_device), losses.to(device), logits.to(device))


@pytest.mark.parametrize("index_device", DEVICES)
@pytest.mark.parametrize("name", METHODS)
def test_the_plans_and_what_is_remembered(name: str, index_device: str) -> None:
    plain, pruner = make_pruner(name), make_pruner(name)
    task = SyntheticTask(num_samples=pruner.num_samples, num_classes=10)
    for epoch in range(pruner.num_epochs):
        train_epoch(plain, task, epoch, "cpu", "cpu")
        train_epoch(pruner, task, epoch, index_device, "cuda")
        if name == "emp":  # the entropies of two devices differ in their last bits, and so may the plans
            break
        assert pruner.plan == plain.plan
    plain.sync()
    pruner.sync()
    assert pruner.stats["loss"].is_cpu
    assert pruner.stats["loss"].nan_to_num().equal(plain.stats["loss"].nan_to_num())
    if name == "emp":
        torch.testing.assert_close(pruner.stats["memory"], plain.stats["memory"], rtol=1e-5, atol=1e-5)
    else:
        assert_same_state(pruner.state_dict(), plain.state_dict())


@pytest.mark.parametrize("name", METHODS)
def test_a_resumed_run(name: str) -> None:
    whole, first = make_pruner(name), make_pruner(name)
    task = SyntheticTask(num_samples=whole.num_samples, num_classes=10)
    for epoch in range(whole.num_epochs):
        train_epoch(whole, task, epoch, "cpu", "cuda")
    for epoch in range(3):
        train_epoch(first, task, epoch, "cpu", "cuda")
    resumed = make_pruner(name)
    resumed.load_state_dict(through_disk(first.state_dict()))
    for epoch in range(3, whole.num_epochs):
        train_epoch(resumed, task, epoch, "cpu", "cuda")
    assert_same_state(resumed.state_dict(), whole.state_dict())


def test_a_default_device_changes_nothing() -> None:
    plain, pruner = make_pruner("infobatch"), make_pruner("infobatch")
    task = SyntheticTask(num_samples=pruner.num_samples, num_classes=10)
    for epoch in range(pruner.num_epochs):
        train_epoch(plain, task, epoch, "cpu", "cpu")
        with torch.device("cpu"):
            batches = [(index, *task.batch(index, epoch=epoch)) for index in plain.plan.index.split(BATCH_SIZE)]
        with torch.device("cuda"):
            assert pruner.begin_epoch(epoch, multiple_of=BATCH_SIZE) == plain.plan
            for index, losses, logits in batches:
                pruner.reduce(index, losses.cuda(), logits.cuda())
            assert pruner.summary().to_dict()
    assert_same_state(pruner.state_dict(), plain.state_dict())


@pytest.mark.parametrize("wrong", [-1, 10**6])
def test_an_index_out_of_range_is_found_at_the_next_fold(wrong: int) -> None:
    pruner = make_pruner("greedy")
    index = pruner.begin_epoch(0, multiple_of=BATCH_SIZE).index[:BATCH_SIZE].cuda()
    index[3] = wrong
    pruner.observe(index, torch.ones(BATCH_SIZE, device="cuda"))
    with pytest.raises(emprune.errors.ObservationError, match="must be in"):
        pruner.begin_epoch(1, multiple_of=BATCH_SIZE)


@pytest.mark.parametrize("policy", ["error", "skip", "revisit"])
def test_losses_that_are_not_finite(policy: Any) -> None:
    pruner = emprune.DataPruner("emp", num_samples=64, num_epochs=4, keep=0.5, nonfinite=policy)
    index = pruner.begin_epoch(0).index
    losses, logits = torch.ones(len(index), device="cuda"), torch.randn(len(index), 10, device="cuda")
    losses[2] = torch.nan
    pruner.observe(index, losses, logits)
    if policy == "error":
        with pytest.raises(emprune.errors.ObservationError, match="must be finite"):
            pruner.begin_epoch(1)
    else:
        assert len(pruner.begin_epoch(1)) == 32
        assert int(pruner.stats["failures"][index[2]]) == 1


def test_half_precision_is_remembered_in_float32() -> None:
    for dtype in (torch.bfloat16, torch.float16):
        pruner = make_pruner("emp")
        index = pruner.begin_epoch(0, multiple_of=BATCH_SIZE).index
        losses = torch.rand(len(index)).to(dtype)
        pruner.observe(index, losses.cuda(), torch.randn(len(index), 10, device="cuda", dtype=dtype))
        pruner.sync()
        assert pruner.stats["loss"].dtype == pruner.stats["memory"].dtype == torch.float32
        assert pruner.stats["loss"][index].equal(losses.float())
