"""A stream in accelerate and Lightning: the plan of a plain loop, every loss its own, and an exact resume."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

import emprune
from tests.data.helpers import assert_every_loss_is_its_own, loss_of
from tests.data.streams import keyed

SIZES = [30, 5, 41, 24]
NUM_EPOCHS = 4
BUDGET: dict[str, Any] = {"keep": 0.3, "tail_epochs": 1, "shuffle_buffer": 8}


def dataloader() -> DataLoader[Any]:
    return DataLoader(keyed(SIZES), batch_size=4)


def plain() -> list[list[int]]:
    """What a plain loop is delivered, epoch by epoch."""
    loader = emprune.PrunedStream(dataloader(), emprune.Greedy(), num_epochs=NUM_EPOCHS, **BUDGET)
    delivered: list[list[int]] = []
    for _ in loader.epochs():
        delivered.append([])
        for index, _ in loader:
            loader.reduce(index, loss_of(index))
            delivered[-1] += index.tolist()
    return delivered


@pytest.mark.usefixtures("fresh_accelerate")
def test_accelerate_delivers_a_streams_plan_and_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    accelerate = pytest.importorskip("accelerate")
    from emprune.integrations.accelerate import AcceleratedStream, prepare

    accelerator = accelerate.Accelerator(cpu=True)
    loader = prepare(accelerator, dataloader(), emprune.Greedy(), num_epochs=NUM_EPOCHS, **BUDGET)
    assert isinstance(loader, AcceleratedStream)
    wanted, delivered = plain(), []
    for epoch in loader.epochs():
        for number, (index, batch) in enumerate(loader):
            assert batch.tolist() == index.tolist()
            loader.reduce(index, loss_of(index))
            delivered.append(index.tolist())
            if (epoch, number) == (3, 5):
                accelerator.save_state(str(tmp_path))
                cut = len(delivered)
    assert [position for batch in delivered for position in batch] == [p for epoch in wanted for p in epoch]
    assert_every_loss_is_its_own(loader.pruner)
    again = accelerate.Accelerator(cpu=True)
    resumed = prepare(again, dataloader(), emprune.Greedy(), num_epochs=NUM_EPOCHS, **BUDGET)
    again.load_state(str(tmp_path))
    rest = []
    for index, _ in resumed.batches():
        resumed.reduce(index, loss_of(index))
        rest.append(index.tolist())
    assert rest == delivered[cut:]


@pytest.mark.filterwarnings("ignore:Your `IterableDataset` has `__len__` defined:UserWarning")  # it is exact
def test_lightning_trains_on_a_streams_plan() -> None:
    pytest.importorskip("lightning")
    from lightning import LightningModule, Trainer

    from emprune.integrations.lightning import PruningCallback, prepare

    class Module(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))
            self.delivered: list[list[int]] = [[] for _ in range(NUM_EPOCHS)]

        def training_step(self, batch: Any, number: int) -> torch.Tensor:
            index, values = batch
            assert values.tolist() == index.tolist()
            self.delivered[self.current_epoch] += index.tolist()
            return loader.reduce(index, loss_of(index) + 0 * self.weight)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    trainer = Trainer(
        max_epochs=NUM_EPOCHS,
        callbacks=[PruningCallback()],
        reload_dataloaders_every_n_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = prepare(trainer, dataloader(), emprune.Greedy(), **BUDGET)
    module = Module()
    trainer.fit(module, loader)
    assert module.delivered == plain()
    assert_every_loss_is_its_own(loader.pruner)
