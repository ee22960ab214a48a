"""The lab's training on a GPU: each image task's batches, and a step that waits for nothing."""

import pytest
import torch
from emprune_lab import run as resolving
from emprune_lab.data.splits import Split, Splits
from emprune_lab.training.arrays import ArrayTraining

from tests.cuda.support import no_synchronisation
from tests.lab.runs import run_of, settings_for

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
    pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype feature"),
]


def made_up(channels: int, size: int, num_classes: int) -> Splits:
    """Images of a task's shape, without its data."""
    train, test = (
        Split(torch.randint(256, (n, channels, size, size), dtype=torch.uint8), torch.arange(n) % num_classes)
        for n in (400, 200)
    )
    return Splits(train, test)


@pytest.mark.parametrize(
    ("task", "shape"),
    [
        ("digits", (1, 8, 10)), ("fashion-mnist", (1, 28, 10)), ("cifar10", (3, 32, 10)), ("cifar100", (3, 32, 100)),
        ("simclr-cifar10", (3, 32, 10)), ("simclr-fashion-mnist", (1, 28, 10)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["emp:pool=2", "infobatch"])
def test_a_step_of_a_run(task: str, shape: tuple[int, int, int], method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if task.startswith("simclr") and method.startswith("emp"):
        method = "emp"
    splits = made_up(*shape)
    monkeypatch.setattr(resolving, "splits_of", lambda settings, task, data_dir: splits)
    run = run_of(settings_for(task, method, device="cuda", epochs=3, batch_size=40, keep=0.5))
    training = ArrayTraining(run)
    step = 0
    for _ in training.loader.epochs():
        batches = iter(training.loader)
        for _ in range(len(training.loader)):
            index, batch = next(batches)
            assert batch[0].is_cuda
            assert batch[0].dtype == torch.float32
            training.train_on(index, batch)  # what loads and allocates may wait
            step += 1
        training.loader.sync()
    assert step == run.sizes.steps
    again = ArrayTraining(run)
    for epoch in again.loader.epochs():
        batches = iter(again.loader)
        for _ in range(len(again.loader)):
            with no_synchronisation():
                again.set_learning_rate(steps=step)
                index, batch = next(batches)
                losses = again.train_on(index, batch)
        assert bool(losses.isfinite().all()), epoch
    assert 0 <= again.evaluate("test")["accuracy"] <= 100
