"""What the tests on a GPU share: a classifier that is cheap to train, every method, and ways to see a wait."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

import emprune
from emprune.engine.recording import RecordLike
from emprune.methods import method_names

__all__ = ["BATCH_SIZE", "METHODS", "Classifier", "busy_device", "make_pruner", "no_synchronisation"]

NUM_SAMPLES, NUM_CLASSES, NUM_FEATURES, BATCH_SIZE, NUM_EPOCHS = 2048, 100, 32, 128, 5
METHODS = method_names()
_MADE: dict[str, Callable[[], emprune.Method]] = {
    "static-subset": lambda: emprune.methods.StaticSubset(torch.arange(NUM_SAMPLES).float()),
    "reducible-loss": lambda: emprune.methods.ReducibleLoss(torch.zeros(NUM_SAMPLES)),
}


def make_pruner(name: str, *, record: RecordLike | None = None) -> emprune.DataPruner:
    """A pruner for the classifier's data. At keep 0.5 all samples have been seen after two of the five epochs."""
    method = _MADE[name]() if name in _MADE else emprune.methods.make_method(name)
    keep = method.default_keep or 0.5
    return emprune.DataPruner(
        method, num_samples=NUM_SAMPLES, num_epochs=NUM_EPOCHS, keep=keep, tail_epochs=0, record=record
    )


class Classifier:
    """A linear model and its data, on the GPU."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.inputs = torch.randn(NUM_SAMPLES, NUM_FEATURES, generator=generator).cuda()
        self.labels = torch.randint(NUM_CLASSES, (NUM_SAMPLES,), generator=generator).cuda()
        self.model = torch.nn.Linear(NUM_FEATURES, NUM_CLASSES).cuda()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9, fused=True)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return (B,) losses and (B, C) logits."""
        logits = self.model(x)
        return F.cross_entropy(logits, y, reduction="none"), logits

    def batches(self, plan: emprune.EpochPlan, index_device: str) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield an epoch's batches, the index on `index_device`, with nothing left to do on the GPU."""
        for index in plan.index.split(BATCH_SIZE):
            on_device = index.cuda()
            batch = self.inputs[on_device], self.labels[on_device]
            torch.cuda.synchronize()
            yield (on_device if index_device == "cuda" else index), *batch


@contextmanager
def no_synchronisation() -> Iterator[None]:
    """Raise where torch waits for the GPU."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@contextmanager
def busy_device() -> Iterator[None]:
    """Fail where a block has waited for the GPU, in whatever way: it sleeps, and must still sleep at the end."""
    done = torch.cuda.Event()
    torch.cuda._sleep(400_000_000)  # about a fifth of a second
    done.record()
    yield
    waited = done.query()
    torch.cuda.synchronize()
    assert not waited, "the block took until the GPU had done all of its work"
