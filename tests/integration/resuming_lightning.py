"""The run of `resuming` in Lightning's words: what a loop yields are hooks here."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer, callbacks

from emprune.integrations.lightning import PruningCallback, prepare
from tests.integration import runs
from tests.integration.lightning_module import make_trainer
from tests.integration.resuming import CHOICE, NUM_EPOCHS


class Module(LightningModule):
    """Writes what its rank did, whether or not anything was left to do."""

    def __init__(self, report: Path, num_workers: int) -> None:
        super().__init__()
        self.report, self.num_workers = report, num_workers
        self.net = runs.make_model()
        self.delivered: list[int] = []
        self.ended: list[int] = []

    def setup(self, stage: str) -> None:
        self.loader = prepare(self.trainer, runs.make_dataloader(num_workers=self.num_workers), "emp", **CHOICE)

    def train_dataloader(self) -> Any:
        return self.loader

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.delivered += batch[0].tolist()
        return runs.reduce(self.loader.pruner, self.net, *batch)

    def on_train_epoch_end(self) -> None:
        self.ended.append(self.trainer.current_epoch)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.2)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["done"] = {"delivered": len(self.delivered), "ended": len(self.ended)}

    def teardown(self, stage: str) -> None:
        self.loader.pruner.sync()
        report = {"delivered": self.delivered, "ended": self.ended, "state": self.loader.pruner.state_dict()}
        weights = dict(self.net.state_dict())
        torch.save({**report, "weights": weights}, self.report.with_name(f"{self.report.name}-{self.global_rank}.pt"))


class Saving(callbacks.Callback):
    """Saves at every moment, in the second epoch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save(trainer, "before the first epoch")

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *step: Any) -> None:
        if trainer.current_epoch == 1 and trainer.is_last_batch:
            self._save(trainer, "after the last batch")
        elif trainer.current_epoch == 1 and step[-1] == 0:
            self._save(trainer, "in mid-epoch")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch == 1:
            self._save(trainer, "after the loop")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save(trainer, "after the run")

    def _save(self, trainer: Trainer, moment: str) -> None:
        trainer.save_checkpoint(self.folder / f"{moment}.ckpt")


def fit(
    folder: Path, name: str, num_workers: int, *, saving: bool = False, ckpt_path: Any = None, **options: Any
) -> None:
    """Train a run, or what is left of it."""
    chosen = [PruningCallback(), *([Saving(folder)] if saving else [])]
    trainer = make_trainer(max_epochs=NUM_EPOCHS, callbacks=chosen, pruning=False, limit_val_batches=0, **options)
    trainer.fit(Module(folder / name, num_workers), ckpt_path=ckpt_path)
