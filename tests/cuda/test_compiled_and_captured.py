"""Compiled steps, and steps in a CUDA graph: observed as any other, or refused."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import emprune
from tests.cuda.support import BATCH_SIZE, Classifier, make_pruner, no_synchronisation

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
    pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype feature"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of the compiler's own
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores:UserWarning"),
    pytest.mark.filterwarnings("ignore:The CUDA Graph is empty:UserWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"),
]

Step = Callable[[emprune.DataPruner, Classifier, Tensor, Tensor, Tensor], Tensor]


def train(pruner: emprune.DataPruner, step: Callable[[Classifier, Tensor, Tensor, Tensor], Tensor]) -> Tensor:
    """Train for the run's epochs; return (N,) of each sample's last loss, as the loop saw it."""
    task = Classifier()
    seen = torch.full((pruner.num_samples,), torch.nan)
    for epoch in range(pruner.num_epochs):
        plan = pruner.begin_epoch(epoch, multiple_of=BATCH_SIZE)
        for index, x, y in task.batches(plan, "cpu"):
            seen[index] = step(task, index, x, y).detach().float().cpu()
            task.optimizer.step()
            task.optimizer.zero_grad()
    pruner.sync()
    return seen


@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
@pytest.mark.parametrize("name", ["emp", "infobatch", "greedy"])
def test_a_compiled_model_and_loss(name: str, mode: str) -> None:
    pruner = make_pruner(name)
    compiled: list[Any] = []

    def step(task: Classifier, index: Tensor, x: Tensor, y: Tensor) -> Tensor:
        if not compiled:
            compiled.append(torch.compile(task.forward, mode=mode, fullgraph=True))
        if mode == "reduce-overhead":
            torch.compiler.cudagraph_mark_step_begin()
        losses, logits = compiled[0](x, y)
        pruner.reduce(index, losses, logits).backward()
        return torch.as_tensor(losses)

    seen = train(pruner, step)
    assert pruner.stats["loss"].nan_to_num().equal(seen.nan_to_num())


@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
@pytest.mark.parametrize("name", ["emp", "infobatch", "greedy"])
def test_a_compiled_step_with_reduce_in_it(name: str, mode: str) -> None:
    pruner = make_pruner(name)
    compiled: list[Any] = []

    def step(task: Classifier, index: Tensor, x: Tensor, y: Tensor) -> Tensor:
        def inside(index: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            losses, logits = task.forward(x, y)
            return pruner.reduce(index, losses, logits), losses

        if not compiled:
            compiled.append(torch.compile(inside, mode=mode))
        if mode == "reduce-overhead":
            torch.compiler.cudagraph_mark_step_begin()
        loss, losses = compiled[0](index, x, y)
        copied: Tensor = losses.detach().clone()
        loss.backward()
        return copied

    seen = train(pruner, step)
    assert pruner.stats["loss"].nan_to_num().equal(seen.nan_to_num())


def test_a_compiled_step_waits_for_nothing() -> None:
    pruner, task = make_pruner("emp"), Classifier()
    compiled = torch.compile(task.forward, fullgraph=True)
    for epoch in range(pruner.num_epochs):
        plan = pruner.begin_epoch(epoch, multiple_of=BATCH_SIZE)
        for index, x, y in task.batches(plan, "cpu"):
            if epoch == 0:
                pruner.reduce(index, *compiled(x, y)).backward()
                continue
            with no_synchronisation():
                pruner.reduce(index, *compiled(x, y)).backward()


class Captured:
    """Forward, loss and backward in a CUDA graph, with inputs that each replay reads anew."""

    def __init__(self, task: Classifier, observe: Callable[[Tensor, Tensor], object]) -> None:
        self.x, self.y = task.inputs[:BATCH_SIZE].clone(), task.labels[:BATCH_SIZE].clone()
        self.weight = torch.ones(BATCH_SIZE, device="cuda")
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                (self.weight * task.forward(self.x, self.y)[0]).mean().backward()
        torch.cuda.current_stream().wait_stream(side)
        task.optimizer.zero_grad(set_to_none=True)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.losses, self.logits = task.forward(self.x, self.y)
            observe(self.losses, self.logits)
            (self.weight * self.losses).mean().backward()

    def replay(self, x: Tensor, y: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        self.x.copy_(x)
        self.y.copy_(y)
        self.weight.copy_(weight, non_blocking=True)
        self.graph.replay()
        return self.losses, self.logits


@pytest.mark.parametrize("name", ["emp", "infobatch", "greedy"])
def test_a_captured_step_is_observed_after_its_replay(name: str) -> None:
    task, pruner = Classifier(), make_pruner(name)
    captured = Captured(task, lambda losses, logits: None)
    seen = torch.full((pruner.num_samples,), torch.nan)
    for epoch in range(pruner.num_epochs):
        plan = pruner.begin_epoch(epoch, multiple_of=BATCH_SIZE)
        for index, x, y in task.batches(plan, "cpu"):
            with no_synchronisation():
                losses, logits = captured.replay(x, y, pruner.weights(index))
                pruner.observe(index, losses, logits)
                task.optimizer.step()
            seen[index] = losses.detach().cpu()
    pruner.sync()
    assert pruner.stats["loss"].nan_to_num().equal(seen.nan_to_num())
    assert float(seen.nanmean()) < 5


@pytest.mark.parametrize("name", ["emp", "greedy"])
def test_observing_in_a_capture_is_refused(name: str) -> None:
    task, pruner = Classifier(), make_pruner(name)
    index = pruner.begin_epoch(0, multiple_of=BATCH_SIZE).index[:BATCH_SIZE]
    with pytest.raises(emprune.errors.ObservationError, match="must not be observed while a CUDA graph is captured"):
        Captured(task, lambda losses, logits: pruner.observe(index, losses, logits))
    assert pruner.num_observed == 0
