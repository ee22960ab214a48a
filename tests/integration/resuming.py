"""A run in each framework's words that saves at every moment and goes on from each; runs on any number of ranks."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.nn.parallel import DistributedDataParallel

import emprune
from emprune.testing import assert_same_state
from tests.integration import runs

MOMENTS = ("before the first epoch", "in mid-epoch", "after the last batch", "after the loop", "after the run")
CHOICE: dict[str, Any] = {"keep": 0.6, "tail_epochs": 1, "seed": 1, "lengths": [n % 7 for n in range(runs.NUM_SAMPLES)]}
METHODS = ("emp", "emp:pool=gap")
"""What Fabric, accelerate and torch.distributed.checkpoint save: columns, and for the second the gap too."""
NUM_EPOCHS = 3


class Script(ABC):
    """A training loop; `make` sets `loader`, `model` and `optimizer`."""

    loader: emprune.PrunedLoader | emprune.PrunedStream
    model: nn.Module
    optimizer: torch.optim.Optimizer

    def __init__(self, method: str, num_workers: int) -> None:
        self.method = method
        model = runs.make_model()
        self.make(model, torch.optim.SGD(model.parameters(), lr=0.2), num_workers)
        self.delivered: list[int] = []
        self.ended: list[int] = []

    @abstractmethod
    def make(self, model: nn.Module, optimizer: torch.optim.Optimizer, num_workers: int) -> None: ...

    @abstractmethod
    def save(self, path: Path) -> None: ...

    @abstractmethod
    def load(self, path: Path) -> None: ...

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def moments(self) -> Iterator[tuple[str, int]]:
        """Train what is left of the run; stop where it may be saved, and say in which epoch."""
        yield "before the first epoch", -1
        for epoch in self.loader.epochs():
            self.loader.observe_validation(1 + 0.02 * epoch, train_loss=1.0)
            for number, (index, batch) in enumerate(self.loader, start=1):
                self.backward(runs.reduce(self.loader.pruner, self.model, index, batch))
                self.optimizer.step()
                self.optimizer.zero_grad()
                self.delivered += index.tolist()
                yield "in mid-epoch" if number < len(self.loader) else "after the last batch", epoch
            self.ended.append(epoch)
            yield "after the loop", epoch
        yield "after the run", NUM_EPOCHS


def check_every_method(make: Callable[[str, int], Script], folder: Path, num_workers: int) -> None:
    for method in METHODS:
        check_every_moment(partial(make, method), folder / method.replace(":", "-"), num_workers)


def check_every_moment(make: Callable[[int], Script], folder: Path, num_workers: int) -> None:
    """Save at each moment, in the second epoch; go on from each in a new run."""
    whole, saved = make(num_workers), {}
    for moment, epoch in whole.moments():
        if epoch != 0 and moment not in saved:
            whole.save(folder / moment)
            saved[moment] = copy.deepcopy((whole.delivered, whole.ended))
    assert tuple(saved) == MOMENTS
    whole.loader.sync()
    for moment, done in saved.items():
        again = make(num_workers)
        again.load(folder / moment)
        again.delivered, again.ended = done
        for _ in again.moments():
            pass
        again.loader.sync()
        assert again.delivered == whole.delivered, moment
        assert again.ended == whole.ended == list(range(NUM_EPOCHS)), moment
        assert_same_state(again.loader.state_dict(), whole.loader.state_dict())
        assert_same_state(dict(again.model.state_dict()), dict(whole.model.state_dict()))


class Accelerated(Script):
    """`accelerator.save_state`."""

    def make(self, model: nn.Module, optimizer: torch.optim.Optimizer, num_workers: int) -> None:
        from emprune.integrations.accelerate import prepare
        from tests.integration.accelerated import make_accelerator

        self.accelerator = make_accelerator()
        dataloader = runs.make_dataloader(num_workers=num_workers)
        self.loader = prepare(self.accelerator, dataloader, self.method, num_epochs=NUM_EPOCHS, **CHOICE)
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)

    def backward(self, loss: Tensor) -> None:
        self.accelerator.backward(loss)

    def save(self, path: Path) -> None:
        self.accelerator.save_state(str(path))

    def load(self, path: Path) -> None:
        self.accelerator.load_state(str(path))


class Fabricated(Script):
    """`fabric.save`."""

    def __init__(self, fabric: Any, method: str, num_workers: int) -> None:
        self.fabric = fabric
        super().__init__(method, num_workers)

    def make(self, model: nn.Module, optimizer: torch.optim.Optimizer, num_workers: int) -> None:
        dataloader = runs.make_dataloader(num_workers=num_workers)
        self.loader = emprune.PrunedLoader(dataloader, self.method, num_epochs=NUM_EPOCHS, **CHOICE)
        self.model, self.optimizer = self.fabric.setup(model, optimizer)

    def backward(self, loss: Tensor) -> None:
        self.fabric.backward(loss)

    def save(self, path: Path) -> None:
        self.loader.sync()
        self.fabric.save(path, {"loader": self.loader, "model": self.model})

    def load(self, path: Path) -> None:
        assert self.fabric.load(path, {"loader": self.loader, "model": self.model}) == {}


class Distributed(Script):
    """`torch.distributed.checkpoint`."""

    def make(self, model: nn.Module, optimizer: torch.optim.Optimizer, num_workers: int) -> None:
        dataloader = runs.make_dataloader(num_workers=num_workers)
        self.loader = emprune.PrunedLoader(dataloader, self.method, num_epochs=NUM_EPOCHS, **CHOICE)
        self.model = DistributedDataParallel(model) if dist.is_initialized() else model
        self.optimizer = optimizer

    def save(self, path: Path) -> None:
        self.loader.sync()
        save({"loader": self.loader, "model": self.model}, checkpoint_id=path)

    def load(self, path: Path) -> None:
        load({"loader": self.loader, "model": self.model}, checkpoint_id=path)


def with_accelerate(folder: Path, num_workers: int) -> None:
    torch.set_num_threads(1)
    check_every_method(Accelerated, folder, num_workers)


def with_fabric(fabric: Any, folder: Path, num_workers: int) -> None:
    torch.set_num_threads(1)
    check_every_method(partial(Fabricated, fabric), folder, num_workers)


def with_distributed_checkpoint(folder: Path, num_workers: int) -> None:
    check_every_method(Distributed, folder, num_workers)


def with_distributed_checkpoint_on_two(rank: int, folder: Path, num_workers: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'rendezvous'}", rank=rank, world_size=2)
    try:
        with_distributed_checkpoint(folder, num_workers)
    finally:
        dist.destroy_process_group()
