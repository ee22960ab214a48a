"""A step on the GPU waits for nothing: neither observing, nor reducing, nor the delivery of the next batch."""

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import emprune
from tests.cuda.support import BATCH_SIZE, METHODS, Classifier, busy_device, make_pruner, no_synchronisation

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
    pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype feature"),
]


@pytest.mark.parametrize("index_device", ["cpu", "cuda"])
@pytest.mark.parametrize("name", METHODS)
def test_a_step(name: str, index_device: str) -> None:
    task, pruner = Classifier(), make_pruner(name)
    for epoch in range(pruner.num_epochs):
        plan = pruner.begin_epoch(epoch, multiple_of=BATCH_SIZE)
        for number, (index, x, y) in enumerate(task.batches(plan, index_device)):
            asleep = busy_device() if epoch == pruner.num_epochs - 1 and number in (0, 5) else nullcontext()
            with asleep, no_synchronisation():
                losses, logits = task.forward(x, y)
                pruner.reduce(index, losses, logits).backward()
                task.optimizer.step()
                task.optimizer.zero_grad()
    pruner.sync()
    assert int(pruner.visits.sum()) == sum(entry["num_kept"] for entry in pruner.history)
    assert bool(pruner.stats["loss"].isfinite()[pruner.visits > 0].all())


@pytest.mark.parametrize("index_device", ["cpu", "cuda"])
@pytest.mark.parametrize("name", ["emp", "greedy", "random"])
def test_a_step_that_records(name: str, index_device: str) -> None:
    task, pruner = Classifier(), make_pruner(name, record="all")
    for epoch in range(pruner.num_epochs):
        plan = pruner.begin_epoch(epoch, multiple_of=BATCH_SIZE)
        for index, x, y in task.batches(plan, index_device):
            with no_synchronisation():
                losses, logits = task.forward(x, y)
                pruner.reduce(index, losses, logits).backward()
    pruner.sync()
    assert pruner.stats["recorded"].equal(pruner.visits)


@pytest.mark.parametrize("index_device", ["cpu", "cuda"])
@pytest.mark.parametrize("name", METHODS)
def test_a_step_with_mixed_precision_and_a_scaler(name: str, index_device: str) -> None:
    task, pruner = Classifier(), make_pruner(name)
    scaler = torch.amp.GradScaler("cuda", init_scale=64.0)
    for epoch in range(pruner.num_epochs):
        plan = pruner.begin_epoch(epoch, multiple_of=BATCH_SIZE)
        for number, (index, x, y) in enumerate(task.batches(plan, index_device)):
            with no_synchronisation() if epoch or number else nullcontext():  # the scaler's own first step waits
                with torch.autocast("cuda", dtype=torch.float16):
                    losses, logits = task.forward(x, y)
                    loss = pruner.reduce(index, losses, logits)
                scaler.scale(loss).backward()
                scaler.step(task.optimizer)  # waits unless the optimizer is fused, emprune or not
                scaler.update()
                task.optimizer.zero_grad()
    pruner.sync()
    assert bool(pruner.stats["loss"].isfinite()[pruner.visits > 0].all())


@pytest.mark.parametrize("name", METHODS)
def test_a_step_of_which_some_indices_are_on_the_gpu(name: str) -> None:
    task, pruner = Classifier(), make_pruner(name)
    for epoch in range(pruner.num_epochs):
        plan = pruner.begin_epoch(epoch, multiple_of=BATCH_SIZE)
        for number, (index, x, y) in enumerate(task.batches(plan, "cpu")):
            index = index.cuda() if number % 2 else index
            with no_synchronisation():
                pruner.reduce(index, *task.forward(x, y)).backward()
    pruner.sync()
    assert int(pruner.visits.sum()) == sum(entry["num_kept"] for entry in pruner.history)


def jitter(generator: torch.Generator, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    return x + 0.1 * torch.randn(x.shape, generator=generator, device=x.device), y


@pytest.mark.parametrize("name", METHODS)
def test_the_delivery_of_arrays_on_the_gpu(name: str) -> None:
    task = Classifier()
    loader = emprune.ArrayLoader((task.inputs, task.labels), make_pruner(name), batch_size=BATCH_SIZE, transform=jitter)
    for epoch in loader.epochs():
        batches = iter(loader)
        for number in range(len(loader)):
            torch.cuda.synchronize()
            asleep = busy_device() if epoch == loader.pruner.num_epochs - 1 and number in (1, 4) else nullcontext()
            with asleep, no_synchronisation():
                index, (x, y) = next(batches)
                loader.reduce(index, *task.forward(x, y)).backward()
            assert y.is_cuda
            assert y.equal(task.labels[index.cuda()])
            assert not x.equal(task.inputs[index.cuda()])
        with pytest.raises(StopIteration):
            next(batches)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_delivery_of_pinned_batches(num_workers: int) -> None:
    task = Classifier()
    dataset = TensorDataset(task.inputs.cpu(), task.labels.cpu())
    dataloader = DataLoader(
        dataset, batch_size=BATCH_SIZE, shuffle=True, num_workers=num_workers, pin_memory=True,
        persistent_workers=num_workers > 0,
    )  # fmt: skip
    loader = emprune.PrunedLoader(dataloader, make_pruner("emp"))
    for epoch in loader.epochs():
        batches = iter(loader)
        for number in range(len(loader)):
            torch.cuda.synchronize()
            asleep = busy_device() if epoch == loader.pruner.num_epochs - 1 and number == 5 else nullcontext()
            with asleep, no_synchronisation():
                index, (x, y) = next(batches)
                on_device = x.cuda(non_blocking=True), y.cuda(non_blocking=True)
                loader.reduce(index, *task.forward(*on_device)).backward()
            assert x.is_pinned()
            assert y.is_pinned()
            assert y.equal(task.labels.cpu()[index])
    loader.sync()
    assert int(loader.pruner.visits.sum()) == sum(entry["num_kept"] for entry in loader.pruner.history)


def test_the_time_of_planning_does_not_count_the_steps_that_the_gpu_has_left() -> None:
    task, pruner = Classifier(), make_pruner("emp")
    for epoch in range(2):
        for index, x, y in task.batches(pruner.begin_epoch(epoch, multiple_of=BATCH_SIZE), "cpu"):
            pruner.observe(index, *task.forward(x, y))
    torch.cuda._sleep(2_000_000_000)  # about a second
    pruner.begin_epoch(2, multiple_of=BATCH_SIZE)
    assert pruner.history[2]["planning_seconds"] < 0.3
